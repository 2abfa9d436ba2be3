// Names that packet scripts have for things.
#pragma once

#include <cstdint>
#include <string>

#include "stream/byte_stream.hh"

namespace penstock::test {

// "connected", "writable", "closed reset" …
std::string name_of(const StreamEvent& event);

struct IcmpCode {
  std::uint8_t type = 0;  // 0: not known
  std::uint8_t code = 0;
};
// Of RFC 792 and RFC 4443: "port_unreachable", "host_unreachable", "admin_prohibited",
// "time_exceeded".
IcmpCode icmp_code(const std::string& name, bool v6);

}  // namespace penstock::test
