#include "wire/tracker_udp.hh"

#include <algorithm>
#include <cstring>

#include "base/assert.hh"
#include "base/endian.hh"
#include "wire/extensions.hh"
#include "wire/utf8.hh"

namespace penstock::wire {
namespace {

constexpr std::uint64_t kProtocolId = 0x41727101980;  // BEP 15, "magic constant"
constexpr std::size_t kResponseHeaderSize = 8;
constexpr std::size_t kAnnounceResponseSize = 20;  // without peers
constexpr std::size_t kScrapeEntrySize = 12;
// BEP 41.
constexpr std::byte kOptionEnd{0};
constexpr std::byte kOptionUrlData{2};
constexpr std::size_t kOptionBytesMax = 255;

void append_options(std::vector<std::byte>& out, std::string_view path_and_query) {
  while (!path_and_query.empty()) {
    const std::size_t n = std::min(path_and_query.size(), kOptionBytesMax);
    out.push_back(kOptionUrlData);
    out.push_back(static_cast<std::byte>(n));
    const auto* begin = reinterpret_cast<const std::byte*>(path_and_query.data());
    out.insert(out.end(), begin, begin + n);
    path_and_query.remove_prefix(n);
  }
  out.push_back(kOptionEnd);
}

bool is_response(std::span<const std::byte> datagram, UdpAction action, std::size_t least) {
  const auto header = decode_udp_header(datagram);
  return header && header->action == action && datagram.size() >= least;
}

}  // namespace

std::array<std::byte, kUdpConnectRequestSize> encode_udp_connect(std::uint32_t transaction) {
  std::array<std::byte, kUdpConnectRequestSize> out;
  store_be64(out.data(), kProtocolId);
  store_be32(out.data() + 8, static_cast<std::uint32_t>(UdpAction::connect));
  store_be32(out.data() + 12, transaction);
  return out;
}

std::vector<std::byte> encode_udp_announce(std::uint64_t connection, std::uint32_t transaction,
                                           const AnnounceRequest& request,
                                           std::string_view path_and_query) {
  std::vector<std::byte> out(kUdpAnnounceRequestSize);
  std::byte* const p = out.data();
  store_be64(p, connection);
  store_be32(p + 8, static_cast<std::uint32_t>(UdpAction::announce));
  store_be32(p + 12, transaction);
  std::memcpy(p + 16, request.info_hash.bytes.data(), 20);
  std::memcpy(p + 36, request.peer_id.data(), 20);
  store_be64(p + 56, request.downloaded);
  store_be64(p + 64, request.left);
  store_be64(p + 72, request.uploaded);
  store_be32(p + 80, static_cast<std::uint32_t>(request.event));
  // The field holds IPv4 only; 0 means the datagram's source.
  if (request.ip && request.ip->is_v4()) std::memcpy(p + 84, request.ip->bytes.data() + 12, 4);
  store_be32(p + 88, request.key);
  store_be32(p + 92, static_cast<std::uint32_t>(request.peers_wanted));
  store_be16(p + 96, request.port);
  if (!path_and_query.empty()) append_options(out, path_and_query);
  return out;
}

std::vector<std::byte> encode_udp_scrape(std::uint64_t connection, std::uint32_t transaction,
                                         std::span<const WireInfoHash> hashes) {
  ASSERT(hashes.size() <= kUdpScrapeHashesMax);
  std::vector<std::byte> out(16 + hashes.size() * sizeof(WireInfoHash));
  store_be64(out.data(), connection);
  store_be32(out.data() + 8, static_cast<std::uint32_t>(UdpAction::scrape));
  store_be32(out.data() + 12, transaction);
  std::byte* p = out.data() + 16;
  for (const WireInfoHash& hash : hashes) {
    std::memcpy(p, hash.bytes.data(), sizeof hash);
    p += sizeof hash;
  }
  return out;
}

std::optional<UdpHeader> decode_udp_header(std::span<const std::byte> datagram) {
  if (datagram.size() < kResponseHeaderSize) return std::nullopt;
  const std::uint32_t action = load_be32(datagram.data());
  if (action > static_cast<std::uint32_t>(UdpAction::error)) return std::nullopt;
  return UdpHeader{static_cast<UdpAction>(action), load_be32(datagram.data() + 4)};
}

std::optional<std::uint64_t> decode_udp_connect(std::span<const std::byte> datagram) {
  if (!is_response(datagram, UdpAction::connect, 16)) return std::nullopt;
  return load_be64(datagram.data() + 8);
}

std::optional<AnnounceResponse> decode_udp_announce(std::span<const std::byte> datagram, bool v6) {
  if (!is_response(datagram, UdpAction::announce, kAnnounceResponseSize)) return std::nullopt;
  AnnounceResponse out;
  out.interval_s = load_be32(datagram.data() + 8);
  out.leeches = load_be32(datagram.data() + 12);
  out.seeds = load_be32(datagram.data() + 16);
  const std::size_t size = v6 ? kCompactV6Size : kCompactV4Size;
  for (auto rest = datagram.subspan(kAnnounceResponseSize);
       rest.size() >= size && out.peers.size() < kTrackerPeersMax; rest = rest.subspan(size)) {
    const Endpoint peer = decode_compact(rest.first(size));
    if (peer.port != 0) out.peers.push_back(peer);
  }
  return out;
}

std::optional<std::vector<ScrapeEntry>> decode_udp_scrape(std::span<const std::byte> datagram,
                                                          std::span<const WireInfoHash> hashes) {
  if (!is_response(datagram, UdpAction::scrape, kResponseHeaderSize)) return std::nullopt;
  const auto body = datagram.subspan(kResponseHeaderSize);
  std::vector<ScrapeEntry> out;
  for (std::size_t i = 0; i < hashes.size() && (i + 1) * kScrapeEntrySize <= body.size(); ++i) {
    const std::byte* p = body.data() + i * kScrapeEntrySize;
    out.push_back({hashes[i], load_be32(p), load_be32(p + 4), load_be32(p + 8)});
  }
  return out;
}

std::optional<std::string> decode_udp_error(std::span<const std::byte> datagram) {
  if (!is_response(datagram, UdpAction::error, kResponseHeaderSize)) return std::nullopt;
  constexpr std::size_t kWordsMax = 500;
  const auto body = datagram.subspan(kResponseHeaderSize);
  const std::string_view text(reinterpret_cast<const char*>(body.data()),
                              std::min(body.size(), kWordsMax));
  std::string words = mend_utf8(text);
  for (char& c : words) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  }
  return words;
}

}  // namespace penstock::wire
