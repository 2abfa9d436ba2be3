// Extended messages (BEP 10): the extension handshake, ut_metadata (BEP 9), ut_pex (BEP 11),
// upload_only (BEP 21) and lt_donthave (BEP 54). Payloads only: what follows the extended id.
//
// Nothing here allocates. What is decoded are views into the payload.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/address.hh"
#include "base/strong.hh"

namespace penstock::wire {

// The extended ids that the sender of a handshake wants to be written to with; 0: doesn't speak it.
struct ExtensionIds {
  std::uint8_t ut_metadata = 0;
  std::uint8_t ut_pex = 0;
  std::uint8_t upload_only = 0;
  std::uint8_t lt_donthave = 0;

  bool operator==(const ExtensionIds&) const = default;
};

struct ExtensionHandshake {
  ExtensionIds ids;
  std::string_view client;                     // "v": UTF-8 by rule, not by check
  std::optional<std::uint16_t> port;           // "p": where the peer listens
  std::optional<std::uint32_t> request_queue;  // "reqq": requests it keeps; > 0
  std::optional<std::uint32_t> metadata_size;  // bytes of the info dictionary; > 0
  std::optional<IpAddress> your_ip;            // "yourip": how the sender sees the receiver
  std::optional<IpAddress> ipv4, ipv6;         // further addresses of the sender
  bool upload_only = false;                    // BEP 21
  std::optional<std::int64_t> complete_ago;    // seconds since it became a seed; -1: it never was

  bool operator==(const ExtensionHandshake&) const = default;
};

// known: the ids of the peer's earlier handshakes; a later one changes only those it mentions, and
// 0 switches one off (BEP 10). nullopt: not a bencoded dictionary, or one of more than 256 values.
// Fields of the wrong type or out of range count as absent (clients in the wild send odd ones).
[[nodiscard]] std::optional<ExtensionHandshake> decode_extension_handshake(
    std::span<const std::byte> payload, const ExtensionIds& known = {});

// Bytes written; 0 when they don't fit. 512 bytes hold any handshake with a client name of ≤ 64.
[[nodiscard]] std::size_t encode_extension_handshake(const ExtensionHandshake& handshake,
                                                     std::span<std::byte> out);

// ---- ut_metadata (BEP 9)

inline constexpr std::uint32_t kMetadataPieceSize = 16 * 1024;

enum class MetadataType : std::uint8_t { request = 0, data = 1, reject = 2 };

struct MetadataMessage {
  MetadataType type = MetadataType::request;
  std::uint32_t piece = 0;
  std::uint32_t total_size = 0;     // data: bytes of the info dictionary
  std::span<const std::byte> data;  // data: 1 … 16 KiB
};

// nullopt: malformed, or a type that BEP 9 doesn't know (which is to be ignored).
[[nodiscard]] std::optional<MetadataMessage> decode_metadata(std::span<const std::byte> payload);
// The dictionary alone; the data, if any, follows it. Bytes written; 0 when they don't fit (64 do).
[[nodiscard]] std::size_t encode_metadata(const MetadataMessage& message, std::span<std::byte> out);

// ---- lt_donthave (BEP 54), upload_only

[[nodiscard]] std::optional<PieceIndex> decode_dont_have(std::span<const std::byte> payload);
[[nodiscard]] std::array<std::byte, 4> encode_dont_have(PieceIndex piece);

// libtorrent's and Transmission's message of one byte, beside the handshake's key.
[[nodiscard]] std::optional<bool> decode_upload_only(std::span<const std::byte> payload);

// ---- ut_pex (BEP 11)

struct PexFlags {
  bool prefers_encryption = false;  // 0x01
  bool upload_only = false;         // 0x02
  bool utp = false;                 // 0x04
  bool holepunch = false;           // 0x08
  bool reachable = false;           // 0x10
};
[[nodiscard]] PexFlags decode_pex_flags(std::uint8_t flags);

// Compact peers of one message: 6 bytes each (IPv4) or 18 (IPv6), flags one byte each or none.
struct PexMessage {
  std::span<const std::byte> added, added_flags, dropped;
  std::span<const std::byte> added6, added6_flags, dropped6;
};
// nullopt: malformed, or more than 200 peers in one list (BEP 11 says 50; libtorrent sends 100).
[[nodiscard]] std::optional<PexMessage> decode_pex(std::span<const std::byte> payload);

// Endpoints in the compact form of BEP 23 (6 bytes) and BEP 7 (18 bytes).
inline constexpr std::size_t kCompactV4Size = 6;
inline constexpr std::size_t kCompactV6Size = 18;
// bytes: 6 or 18 of them.
[[nodiscard]] Endpoint decode_compact(std::span<const std::byte> bytes);
// Bytes written: 6 or 18; out holds 18.
std::size_t encode_compact(const Endpoint& endpoint, std::span<std::byte> out);

}  // namespace penstock::wire
