#include "wire/extensions.hh"

#include <charconv>
#include <cstring>
#include <limits>

#include "base/assert.hh"
#include "base/endian.hh"
#include "wire/bencode.hh"

namespace penstock::wire {
namespace {

using bencode::Kind;
using bencode::Value;

// More values than any client's handshake has, several times over.
constexpr std::uint32_t kHandshakeTokens = 256;
constexpr std::uint32_t kMetadataTokens = 16;
constexpr std::uint32_t kPexTokens = 32;
constexpr std::size_t kPexPeersMax = 200;

// Canonical bencoding into a fixed buffer; what doesn't fit is remembered, not written.
class SpanWriter {
 public:
  explicit SpanWriter(std::span<std::byte> out) : out_(out) {}

  void text(std::string_view bytes) {
    if (bytes.size() > out_.size() - used_) {
      overflow_ = true;
      return;
    }
    std::memcpy(out_.data() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
  }
  void string(std::string_view bytes) {
    number(static_cast<std::int64_t>(bytes.size()));
    text(":");
    text(bytes);
  }
  void integer(std::int64_t value) {
    text("i");
    number(value);
    text("e");
  }
  void pair(std::string_view key, std::int64_t value) {
    string(key);
    integer(value);
  }
  [[nodiscard]] std::size_t finish() const { return overflow_ ? 0 : used_; }

 private:
  void number(std::int64_t value) {
    char digits[24];
    const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
    ASSERT(error == std::errc{});
    text({digits, static_cast<std::size_t>(end - digits)});
  }

  std::span<std::byte> out_;
  std::size_t used_ = 0;
  bool overflow_ = false;
};

template <class T>
std::optional<T> in_range(Value dictionary, std::string_view key, std::int64_t least) {
  const auto value = dictionary.find_integer(key);
  if (!value || *value < least) return std::nullopt;
  if (static_cast<std::uint64_t>(*value) > std::numeric_limits<T>::max()) return std::nullopt;
  return static_cast<T>(*value);
}

void read_id(Value m, std::string_view name, std::uint8_t& id) {
  const auto value = in_range<std::uint8_t>(m, name, 0);
  if (value) id = *value;
}

std::optional<IpAddress> read_ip(Value dictionary, std::string_view key) {
  const auto bytes = dictionary.find(key, Kind::string).bytes();
  IpAddress ip;
  if (bytes.size() == 16) {
    std::memcpy(ip.bytes.data(), bytes.data(), 16);
    return ip;
  }
  if (bytes.size() != 4) return std::nullopt;
  return IpAddress::v4(static_cast<std::uint8_t>(bytes[0]), static_cast<std::uint8_t>(bytes[1]),
                       static_cast<std::uint8_t>(bytes[2]), static_cast<std::uint8_t>(bytes[3]));
}

void write_ip(SpanWriter& writer, std::string_view key, const IpAddress& ip) {
  const auto* bytes = reinterpret_cast<const char*>(ip.bytes.data());
  writer.string(key);
  writer.string(ip.is_v4() ? std::string_view(bytes + 12, 4) : std::string_view(bytes, 16));
}

// A list of compact peers: whole ones, and not too many.
bool read_peers(Value dictionary, std::string_view key, std::size_t size,
                std::span<const std::byte>& out) {
  out = dictionary.find(key, Kind::string).bytes();
  return out.size() % size == 0 && out.size() / size <= kPexPeersMax;
}

// Flags that don't match their peers one to one say nothing.
std::span<const std::byte> read_flags(Value dictionary, std::string_view key, std::size_t peers) {
  const auto flags = dictionary.find(key, Kind::string).bytes();
  return flags.size() == peers ? flags : std::span<const std::byte>();
}

}  // namespace

std::optional<ExtensionHandshake> decode_extension_handshake(std::span<const std::byte> payload,
                                                             const ExtensionIds& known) {
  bencode::SmallDocument<kHandshakeTokens> document;
  if (document.parse(payload).fault != bencode::Fault::none) return std::nullopt;
  const Value root = document.root();
  if (root.kind() != Kind::dictionary) return std::nullopt;

  ExtensionHandshake out;
  out.ids = known;
  const Value m = root.find("m", Kind::dictionary);
  read_id(m, "ut_metadata", out.ids.ut_metadata);
  read_id(m, "ut_pex", out.ids.ut_pex);
  read_id(m, "upload_only", out.ids.upload_only);
  read_id(m, "lt_donthave", out.ids.lt_donthave);
  out.client = root.find_string("v");
  out.port = in_range<std::uint16_t>(root, "p", 1);
  out.request_queue = in_range<std::uint32_t>(root, "reqq", 1);
  out.metadata_size = in_range<std::uint32_t>(root, "metadata_size", 1);
  out.your_ip = read_ip(root, "yourip");
  out.ipv4 = read_ip(root, "ipv4");
  out.ipv6 = read_ip(root, "ipv6");
  out.upload_only = root.find_integer("upload_only").value_or(0) != 0;
  out.complete_ago = root.find_integer("complete_ago");
  return out;
}

std::size_t encode_extension_handshake(const ExtensionHandshake& handshake,
                                       std::span<std::byte> out) {
  SpanWriter writer(out);
  writer.text("d");
  if (handshake.complete_ago) writer.pair("complete_ago", *handshake.complete_ago);
  if (handshake.ipv4) write_ip(writer, "ipv4", *handshake.ipv4);
  if (handshake.ipv6) write_ip(writer, "ipv6", *handshake.ipv6);
  writer.string("m");
  writer.text("d");
  const ExtensionIds& ids = handshake.ids;
  if (ids.lt_donthave != 0) writer.pair("lt_donthave", ids.lt_donthave);
  if (ids.upload_only != 0) writer.pair("upload_only", ids.upload_only);
  if (ids.ut_metadata != 0) writer.pair("ut_metadata", ids.ut_metadata);
  if (ids.ut_pex != 0) writer.pair("ut_pex", ids.ut_pex);
  writer.text("e");
  if (handshake.metadata_size) writer.pair("metadata_size", *handshake.metadata_size);
  if (handshake.port) writer.pair("p", *handshake.port);
  if (handshake.request_queue) writer.pair("reqq", *handshake.request_queue);
  if (handshake.upload_only) writer.pair("upload_only", 1);
  if (!handshake.client.empty()) {
    writer.string("v");
    writer.string(handshake.client);
  }
  if (handshake.your_ip) write_ip(writer, "yourip", *handshake.your_ip);
  writer.text("e");
  return writer.finish();
}

std::optional<MetadataMessage> decode_metadata(std::span<const std::byte> payload) {
  bencode::SmallDocument<kMetadataTokens> document;
  const auto status = document.parse(payload);
  if (status.fault != bencode::Fault::none) return std::nullopt;
  const Value root = document.root();
  const auto type = in_range<std::uint8_t>(root, "msg_type", 0);
  const auto piece = in_range<std::uint32_t>(root, "piece", 0);
  if (!type || *type > 2 || !piece) return std::nullopt;
  MetadataMessage message;
  message.type = static_cast<MetadataType>(*type);
  message.piece = *piece;
  if (message.type != MetadataType::data) return message;
  const auto total = in_range<std::uint32_t>(root, "total_size", 1);
  message.data = payload.subspan(status.position);
  if (!total || message.data.empty() || message.data.size() > kMetadataPieceSize) {
    return std::nullopt;
  }
  message.total_size = *total;
  return message;
}

std::size_t encode_metadata(const MetadataMessage& message, std::span<std::byte> out) {
  SpanWriter writer(out);
  writer.text("d");
  writer.pair("msg_type", static_cast<std::int64_t>(message.type));
  writer.pair("piece", message.piece);
  if (message.type == MetadataType::data) writer.pair("total_size", message.total_size);
  writer.text("e");
  return writer.finish();
}

std::optional<PieceIndex> decode_dont_have(std::span<const std::byte> payload) {
  if (payload.size() != 4) return std::nullopt;
  return PieceIndex(load_be32(payload.data()));
}

std::array<std::byte, 4> encode_dont_have(PieceIndex piece) {
  std::array<std::byte, 4> out;
  store_be32(out.data(), piece.value);
  return out;
}

std::optional<bool> decode_upload_only(std::span<const std::byte> payload) {
  if (payload.size() != 1) return std::nullopt;
  return payload[0] != std::byte{0};
}

PexFlags decode_pex_flags(std::uint8_t flags) {
  return {.prefers_encryption = (flags & 0x01) != 0,
          .upload_only = (flags & 0x02) != 0,
          .utp = (flags & 0x04) != 0,
          .holepunch = (flags & 0x08) != 0,
          .reachable = (flags & 0x10) != 0};
}

std::optional<PexMessage> decode_pex(std::span<const std::byte> payload) {
  bencode::SmallDocument<kPexTokens> document;
  if (document.parse(payload).fault != bencode::Fault::none) return std::nullopt;
  const Value root = document.root();
  if (root.kind() != Kind::dictionary) return std::nullopt;
  PexMessage message;
  const bool sound = read_peers(root, "added", kCompactV4Size, message.added) &&
                     read_peers(root, "dropped", kCompactV4Size, message.dropped) &&
                     read_peers(root, "added6", kCompactV6Size, message.added6) &&
                     read_peers(root, "dropped6", kCompactV6Size, message.dropped6);
  if (!sound) return std::nullopt;
  message.added_flags = read_flags(root, "added.f", message.added.size() / kCompactV4Size);
  message.added6_flags = read_flags(root, "added6.f", message.added6.size() / kCompactV6Size);
  return message;
}

Endpoint decode_compact(std::span<const std::byte> bytes) {
  DCHECK(bytes.size() == kCompactV4Size || bytes.size() == kCompactV6Size);
  Endpoint endpoint;
  const std::size_t address = bytes.size() - 2;
  if (address == 4) endpoint.ip = IpAddress::v4(0, 0, 0, 0);
  std::memcpy(endpoint.ip.bytes.data() + 16 - address, bytes.data(), address);
  endpoint.port = load_be16(bytes.data() + address);
  return endpoint;
}

std::size_t encode_compact(const Endpoint& endpoint, std::span<std::byte> out) {
  const std::size_t address = endpoint.ip.is_v4() ? 4 : 16;
  std::memcpy(out.data(), endpoint.ip.bytes.data() + 16 - address, address);
  store_be16(out.data() + address, endpoint.port);
  return address + 2;
}

}  // namespace penstock::wire
