// The kernel's side of a TAP interface, seen by a packet socket.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hh"
#include "host/fd.hh"
#include "support/raw_packet.hh"

namespace penstock::conformance {

class TapFarEnd {
 public:
  [[nodiscard]] static Result<std::unique_ptr<TapFarEnd>> open(const std::string& interface);
  bool put(std::span<const std::byte> frame);
  void get(std::vector<support::Bytes>& out);

 private:
  host::Fd socket_;
  support::Bytes buffer_;
};

}  // namespace penstock::conformance
