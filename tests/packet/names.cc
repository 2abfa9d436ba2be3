#include "packet/names.hh"

namespace penstock::test {
namespace {

const char* name_of(StreamError error) {
  switch (error) {
    case StreamError::none:
      return "none";
    case StreamError::closed_by_peer:
      return "closed_by_peer";
    case StreamError::reset:
      return "reset";
    case StreamError::timed_out:
      return "timed_out";
    case StreamError::refused:
      return "refused";
    case StreamError::unreachable:
      return "unreachable";
    case StreamError::no_resources:
      return "no_resources";
    case StreamError::content_lost:
      return "content_lost";
  }
  return "?";
}

}  // namespace

std::string name_of(const StreamEvent& event) {
  switch (event.kind) {
    case StreamEvent::Kind::accepted:
      return "accepted";
    case StreamEvent::Kind::connected:
      return "connected";
    case StreamEvent::Kind::data:
      return "data";
    case StreamEvent::Kind::writable:
      return "writable";
    case StreamEvent::Kind::released:
      return "released";
    case StreamEvent::Kind::need:
      return "need";
    case StreamEvent::Kind::closed:
      return std::string("closed ") + name_of(event.error);
  }
  return "?";
}

IcmpCode icmp_code(const std::string& name, bool v6) {
  if (name == "port_unreachable") return v6 ? IcmpCode{1, 4} : IcmpCode{3, 3};
  if (name == "host_unreachable") return v6 ? IcmpCode{1, 3} : IcmpCode{3, 1};
  if (name == "net_unreachable") return v6 ? IcmpCode{1, 0} : IcmpCode{3, 0};
  if (name == "admin_prohibited") return v6 ? IcmpCode{1, 1} : IcmpCode{3, 13};
  if (name == "protocol_unreachable") return v6 ? IcmpCode{4, 1} : IcmpCode{3, 2};
  if (name == "time_exceeded") return v6 ? IcmpCode{3, 0} : IcmpCode{11, 0};
  if (name == "source_quench" && !v6) return {4, 0};
  return {};
}

}  // namespace penstock::test
