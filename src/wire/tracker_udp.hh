// UDP trackers (BEP 15, with IPv6 peers, and BEP 41 for the URL's path). Datagrams only: time-outs
// and connection ids' lifetimes are discovery's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/tracker.hh"

namespace penstock::wire {

inline constexpr std::size_t kUdpConnectRequestSize = 16;
inline constexpr std::size_t kUdpAnnounceRequestSize = 98;  // without BEP 41 options
// Torrents in one scrape: what fits a datagram (BEP 15, "about 74").
inline constexpr std::size_t kUdpScrapeHashesMax = 74;

enum class UdpAction : std::uint32_t { connect = 0, announce = 1, scrape = 2, error = 3 };

[[nodiscard]] std::array<std::byte, kUdpConnectRequestSize> encode_udp_connect(
    std::uint32_t transaction);

// path_and_query: the tracker URL's, sent as BEP 41 "URLData" when not empty.
[[nodiscard]] std::vector<std::byte> encode_udp_announce(std::uint64_t connection,
                                                         std::uint32_t transaction,
                                                         const AnnounceRequest& request,
                                                         std::string_view path_and_query = {});

// hashes: at most kUdpScrapeHashesMax.
[[nodiscard]] std::vector<std::byte> encode_udp_scrape(std::uint64_t connection,
                                                       std::uint32_t transaction,
                                                       std::span<const WireInfoHash> hashes);

// What every response begins with; nullopt for datagrams shorter than 8 bytes.
struct UdpHeader {
  UdpAction action = UdpAction::error;
  std::uint32_t transaction = 0;
};
[[nodiscard]] std::optional<UdpHeader> decode_udp_header(std::span<const std::byte> datagram);

// The connection id; nullopt unless it is a connect response (BEP 15: 16 bytes or more).
[[nodiscard]] std::optional<std::uint64_t> decode_udp_connect(std::span<const std::byte> datagram);

// v6: the datagram came over IPv6, so peers have 18 bytes. A last peer that is cut off is dropped.
[[nodiscard]] std::optional<AnnounceResponse> decode_udp_announce(
    std::span<const std::byte> datagram, bool v6);

// Entries in the order of the request's hashes, as many as the datagram has.
[[nodiscard]] std::optional<std::vector<ScrapeEntry>> decode_udp_scrape(
    std::span<const std::byte> datagram, std::span<const WireInfoHash> hashes);

// The tracker's words, on one line.
[[nodiscard]] std::optional<std::string> decode_udp_error(std::span<const std::byte> datagram);

}  // namespace penstock::wire
