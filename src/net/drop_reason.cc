#include "net/drop_reason.hh"

#include <array>

#include "base/assert.hh"

namespace penstock::net {
namespace {

struct Entry {
  std::string_view name;
  std::string_view text;
};

constexpr std::array<Entry, kDropReasons> kEntries = {{
#define PENSTOCK_NET_DROP(name, text) {#name, text},
#include "net/drop_reason.def"
#undef PENSTOCK_NET_DROP
}};

const Entry& entry(DropReason reason) {
  const auto index = static_cast<std::size_t>(reason);
  ASSERT(index < kEntries.size());
  return kEntries[index];
}

}  // namespace

std::string_view name(DropReason reason) {
  return entry(reason).name;
}

std::string_view explain(DropReason reason) {
  return entry(reason).text;
}

}  // namespace penstock::net
