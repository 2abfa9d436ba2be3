// HTTP trackers: queries (BEP 3, 7, 23) and responses (BEP 3, 7, 23, 24, 31, 48).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hh"
#include "wire/tracker.hh"

namespace penstock::wire {

// A response's body beyond this is refused; callers stop reading there.
inline constexpr std::size_t kTrackerBodyMax = std::size_t{4} * 1024 * 1024;

// The announce URL with the request's parameters; asks for compact peers.
[[nodiscard]] std::string announce_url(std::string_view tracker, const AnnounceRequest& request);

// The scrape URL by BEP 48's convention ("announce" in the last path component); nullopt when the
// tracker's URL doesn't follow it. At most 64 hashes make sense in one URL.
[[nodiscard]] std::optional<std::string> scrape_url(std::string_view tracker,
                                                    std::span<const WireInfoHash> hashes);

// ErrorKind::failed with the tracker's own words on "failure reason"; ErrorKind::usage when the
// body makes no sense. Peers with port 0 and those beyond kTrackerPeersMax are left out.
[[nodiscard]] Result<AnnounceResponse> decode_announce_body(std::span<const std::byte> body);

// BEP 31, of a body that decode_announce_body refuses: minutes until the announce may be tried
// again, kRetryNever for "never"; nullopt when there is no "failure reason", or none of this with
// it.
inline constexpr std::uint32_t kRetryNever = std::numeric_limits<std::uint32_t>::max();
[[nodiscard]] std::optional<std::uint32_t> decode_retry_in(std::span<const std::byte> body);

[[nodiscard]] Result<std::vector<ScrapeEntry>> decode_scrape_body(std::span<const std::byte> body);

}  // namespace penstock::wire
