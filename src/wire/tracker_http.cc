#include "wire/tracker_http.hh"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "wire/bencode.hh"
#include "wire/extensions.hh"
#include "wire/uri.hh"
#include "wire/utf8.hh"

namespace penstock::wire {
namespace {

using bencode::Kind;
using bencode::Value;

constexpr bencode::Limits kBodyLimits{.depth_max = 8, .tokens_max = 100'000};

auto refuse(std::string what) {
  return fail("the tracker's response makes no sense: " + std::move(what), ErrorKind::usage);
}

std::optional<std::uint32_t> find_count(Value dictionary, std::string_view key) {
  const auto value = dictionary.find_integer(key);
  if (!value || *value < 0) return std::nullopt;
  return static_cast<std::uint32_t>(
      std::min<std::int64_t>(*value, std::numeric_limits<std::uint32_t>::max()));
}

// The words of a tracker are printed and logged: one line of bounded length.
std::string words(std::string_view text) {
  constexpr std::size_t kWordsMax = 500;
  std::string out = mend_utf8(text.substr(0, kWordsMax));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  }
  return out;
}

void read_compact(std::span<const std::byte> bytes, std::size_t size, AnnounceResponse& out) {
  for (; bytes.size() >= size && out.peers.size() < kTrackerPeersMax; bytes = bytes.subspan(size)) {
    const Endpoint peer = decode_compact(bytes.first(size));
    if (peer.port != 0) out.peers.push_back(peer);
  }
}

// BEP 3: a list of dictionaries; "ip" is an address of either family, or a name.
void read_listed(Value list, AnnounceResponse& out) {
  for (Value v = list.first(); v; v = list.after(v)) {
    if (out.peers.size() + out.named_peers.size() >= kTrackerPeersMax) return;
    const std::string_view host = v.find_string("ip");
    const auto port = v.find_integer("port").value_or(0);
    if (host.empty() || host.size() > 253 || port <= 0 || port > 65535) continue;
    const auto number = static_cast<std::uint16_t>(port);
    if (const auto ip = parse_ip(host)) {
      out.peers.push_back({*ip, number});
    } else if (std::all_of(host.begin(), host.end(), [](char c) {
                 const auto b = static_cast<unsigned char>(c);
                 return b > ' ' && b < 0x7f && c != '/' && c != ':' && c != '@';
               })) {
      out.named_peers.emplace_back(std::string(host), number);
    }
  }
}

Result<void> check_failure(Value root) {
  const std::string_view reason = root.find_string("failure reason");
  if (root.find("failure reason", Kind::string)) {
    return fail("the tracker says: " + (reason.empty() ? "nothing more" : words(reason)));
  }
  return {};
}

Result<Value> parse_body(bencode::Document& document, std::span<const std::byte> body) {
  if (body.size() > kTrackerBodyMax) return refuse("too large");
  const auto status = document.parse(body, kBodyLimits);
  if (status.fault != bencode::Fault::none) return refuse(bencode::describe(status.fault));
  if (document.root().kind() != Kind::dictionary) return refuse("not a dictionary");
  if (auto ok = check_failure(document.root()); !ok) return tl::unexpected(std::move(ok.error()));
  return document.root();
}

void append_number(std::string& url, std::string_view key, std::uint64_t value) {
  url.append(key).append(std::to_string(value));
}

}  // namespace

std::string announce_url(std::string_view tracker, const AnnounceRequest& request) {
  // A fragment is never sent; a tracker's own query (passkeys) stays.
  std::string url(tracker.substr(0, tracker.find('#')));
  url.append(url.find('?') == std::string::npos ? "?" : "&").append("info_hash=");
  append_percent_encoded(url, std::span<const std::byte>(request.info_hash.bytes));
  url.append("&peer_id=");
  append_percent_encoded(url, std::span<const std::byte>(request.peer_id));
  append_number(url, "&port=", request.port);
  append_number(url, "&uploaded=", request.uploaded);
  append_number(url, "&downloaded=", request.downloaded);
  append_number(url, "&left=", request.left);
  static constexpr char kDigits[] = "0123456789ABCDEF";
  url.append("&key=");
  for (int shift = 28; shift >= 0; shift -= 4)
    url.push_back(kDigits[request.key >> shift & 15]);
  switch (request.event) {
    case AnnounceEvent::none:
      break;
    case AnnounceEvent::completed:
      url.append("&event=completed");
      break;
    case AnnounceEvent::started:
      url.append("&event=started");
      break;
    case AnnounceEvent::stopped:
      url.append("&event=stopped");
      break;
  }
  if (request.peers_wanted >= 0) {
    append_number(url, "&numwant=", static_cast<std::uint64_t>(request.peers_wanted));
  }
  if (request.ip) {
    url.append(request.ip->is_v4() ? "&ip=" : "&ipv6=");
    append_percent_encoded(url, request.ip->to_string());
  }
  if (!request.tracker_id.empty()) {
    url.append("&trackerid=");
    append_percent_encoded(url, request.tracker_id);
  }
  return url.append("&compact=1&no_peer_id=1");
}

std::optional<std::string> scrape_url(std::string_view tracker,
                                      std::span<const WireInfoHash> hashes) {
  constexpr std::string_view kAnnounce = "announce";
  tracker = tracker.substr(0, tracker.find('#'));
  const std::size_t slash = tracker.substr(0, tracker.find('?')).rfind('/');
  if (slash == std::string_view::npos || !tracker.substr(slash + 1).starts_with(kAnnounce)) {
    return std::nullopt;
  }
  std::string url(tracker.substr(0, slash + 1));
  url.append("scrape").append(tracker.substr(slash + 1 + kAnnounce.size()));
  char separator = url.find('?') == std::string::npos ? '?' : '&';
  for (const WireInfoHash& hash : hashes) {
    url.push_back(std::exchange(separator, '&'));
    url.append("info_hash=");
    append_percent_encoded(url, std::span<const std::byte>(hash.bytes));
  }
  return url;
}

Result<AnnounceResponse> decode_announce_body(std::span<const std::byte> body) {
  bencode::Document document;
  const auto root = parse_body(document, body);
  if (!root) return tl::unexpected(root.error());
  AnnounceResponse out;
  out.interval_s = find_count(*root, "interval").value_or(0);
  out.min_interval_s = find_count(*root, "min interval").value_or(0);
  out.seeds = find_count(*root, "complete");
  out.leeches = find_count(*root, "incomplete");
  out.downloads = find_count(*root, "downloaded");
  out.tracker_id = root->find_string("tracker id");
  out.warning = words(root->find_string("warning message"));
  const Value peers = root->find("peers");
  if (peers.kind() == Kind::string) read_compact(peers.bytes(), kCompactV4Size, out);
  if (peers.kind() == Kind::list) read_listed(peers, out);
  read_compact(root->find("peers6", Kind::string).bytes(), kCompactV6Size, out);
  const auto external = root->find("external ip", Kind::string).bytes();
  if (external.size() == 4) {
    out.external_ip = IpAddress::v4(
        static_cast<std::uint8_t>(external[0]), static_cast<std::uint8_t>(external[1]),
        static_cast<std::uint8_t>(external[2]), static_cast<std::uint8_t>(external[3]));
  } else if (external.size() == 16) {
    std::memcpy(out.external_ip.emplace().bytes.data(), external.data(), 16);
  }
  return out;
}

std::optional<std::uint32_t> decode_retry_in(std::span<const std::byte> body) {
  bencode::Document document;
  if (body.size() > kTrackerBodyMax ||
      document.parse(body, kBodyLimits).fault != bencode::Fault::none ||
      document.root().kind() != Kind::dictionary ||
      !document.root().find("failure reason", Kind::string)) {
    return std::nullopt;
  }
  if (document.root().find_string("retry in") == "never") return kRetryNever;
  return find_count(document.root(), "retry in");
}

Result<std::vector<ScrapeEntry>> decode_scrape_body(std::span<const std::byte> body) {
  bencode::Document document;
  const auto root = parse_body(document, body);
  if (!root) return tl::unexpected(root.error());
  const Value files = root->find("files", Kind::dictionary);
  if (!files) return refuse("no \"files\"");
  std::vector<ScrapeEntry> entries;
  for (Value k = files.first(); k;) {
    const Value v = files.after(k);
    if (k.bytes().size() == sizeof(WireInfoHash) && v.kind() == Kind::dictionary) {
      ScrapeEntry& entry = entries.emplace_back();
      std::memcpy(entry.info_hash.bytes.data(), k.bytes().data(), sizeof(WireInfoHash));
      entry.seeds = find_count(v, "complete").value_or(0);
      entry.downloads = find_count(v, "downloaded").value_or(0);
      entry.leeches = find_count(v, "incomplete").value_or(0);
    }
    k = files.after(v);
  }
  return entries;
}

}  // namespace penstock::wire
