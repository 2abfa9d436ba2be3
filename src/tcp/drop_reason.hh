// Why a segment had no effect (drop_reason.def).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock::tcp {

enum class DropReason : std::uint8_t {
#define PENSTOCK_TCP_DROP(name, text) name,
#include "tcp/drop_reason.def"
#undef PENSTOCK_TCP_DROP
};

inline constexpr std::size_t kDropReasons = 0
#define PENSTOCK_TCP_DROP(name, text) +1
#include "tcp/drop_reason.def"
#undef PENSTOCK_TCP_DROP
    ;

// "paws"
std::string_view name(DropReason reason);
// What happened, as a clause.
std::string_view explain(DropReason reason);

}  // namespace penstock::tcp
