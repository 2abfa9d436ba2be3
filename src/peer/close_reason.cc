#include "peer/close_reason.hh"

#include <array>

#include "base/assert.hh"

namespace penstock {
namespace {

struct Entry {
  std::string_view name;
  std::string_view text;
  CloseFault fault;
};

constexpr std::array<Entry, kCloseReasonCount> kEntries = {{
#define PENSTOCK_CLOSE_REASON(name, fault, text) {#name, text, CloseFault::fault},
#include "peer/close_reason.def"
#undef PENSTOCK_CLOSE_REASON
}};

const Entry& entry(CloseReason reason) {
  const auto index = static_cast<std::size_t>(reason);
  ASSERT(index < kEntries.size());
  return kEntries[index];
}

}  // namespace

std::string_view close_reason_name(CloseReason reason) {
  return entry(reason).name;
}

std::string_view close_reason_text(CloseReason reason) {
  return entry(reason).text;
}

CloseFault close_reason_fault(CloseReason reason) {
  return entry(reason).fault;
}

}  // namespace penstock
