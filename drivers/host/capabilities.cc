#include "host/capabilities.hh"

#include <cstdlib>
#include <string>

namespace penstock::host {

Result<Capabilities> parse_disabled(std::string_view list) {
  Capabilities out;
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    const std::string_view name = list.substr(0, comma);
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    if (name == "uring") {
      out.uring = false;
    } else if (name == "splice") {
      out.splice = false;
    } else if (name == "hugepages") {
      out.hugepages = false;
    } else if (name == "direct") {
      out.direct = false;
    } else if (name == "openat2") {
      out.openat2 = false;
    } else if (!name.empty() && name != "dpdk" && name != "avx512") {
      return fail("PENSTOCK_DISABLE: \"" + std::string(name) +
                      "\" is not one of uring, splice, hugepages, direct, openat2, dpdk, avx512",
                  ErrorKind::usage);
    }
  }
  return out;
}

Result<Capabilities> capabilities_from_environment() {
  const char* const list = std::getenv("PENSTOCK_DISABLE");
  return parse_disabled(list == nullptr ? "" : list);
}

}  // namespace penstock::host
