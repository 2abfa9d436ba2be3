// Why a frame had no effect (drop_reason.def).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock::net {

enum class DropReason : std::uint8_t {
#define PENSTOCK_NET_DROP(name, text) name,
#include "net/drop_reason.def"
#undef PENSTOCK_NET_DROP
};

// Size of a table with a counter for each reason.
inline constexpr std::size_t kDropReasons = 0
#define PENSTOCK_NET_DROP(name, text) +1
#include "net/drop_reason.def"
#undef PENSTOCK_NET_DROP
    ;

// "ip_checksum"
[[nodiscard]] std::string_view name(DropReason reason);
// What happened, as a clause.
[[nodiscard]] std::string_view explain(DropReason reason);

}  // namespace penstock::net
