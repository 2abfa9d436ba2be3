// Why a session ended. The list, with what each means, is close_reason.def.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock {

enum class CloseReason : std::uint8_t {
#define PENSTOCK_CLOSE_REASON(name, fault, text) name,
#include "peer/close_reason.def"
#undef PENSTOCK_CLOSE_REASON
};

// Size of a table with a counter for each reason.
inline constexpr std::size_t kCloseReasonCount = 0
#define PENSTOCK_CLOSE_REASON(name, fault, text) +1
#include "peer/close_reason.def"
#undef PENSTOCK_CLOSE_REASON
    ;

enum class CloseFault : std::uint8_t { ours, peer, life };

// The enumerator's own name: a label in metrics and logs.
[[nodiscard]] std::string_view close_reason_name(CloseReason reason);
// One line for people.
[[nodiscard]] std::string_view close_reason_text(CloseReason reason);
// Who is to blame. Connections that end with `peer` are reset rather than closed in order.
[[nodiscard]] CloseFault close_reason_fault(CloseReason reason);

}  // namespace penstock
