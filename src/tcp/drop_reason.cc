#include "tcp/drop_reason.hh"

#include <array>

namespace penstock::tcp {

std::string_view name(DropReason reason) {
  static constexpr std::array<std::string_view, kDropReasons> kNames{
#define PENSTOCK_TCP_DROP(name, text) #name,
#include "tcp/drop_reason.def"
#undef PENSTOCK_TCP_DROP
  };
  return kNames[static_cast<std::size_t>(reason)];
}

std::string_view explain(DropReason reason) {
  static constexpr std::array<std::string_view, kDropReasons> kTexts{
#define PENSTOCK_TCP_DROP(name, text) text,
#include "tcp/drop_reason.def"
#undef PENSTOCK_TCP_DROP
  };
  return kTexts[static_cast<std::size_t>(reason)];
}

}  // namespace penstock::tcp
