// What the NicPort suite needs: a port, and somebody at the other end of its cable.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "net/nic_port.hh"
#include "support/raw_packet.hh"

namespace penstock::conformance {

using support::Bytes;

class NicWorld {
 public:
  virtual ~NicWorld() = default;
  virtual net::NicPort& port() = 0;
  // The other end puts a frame on the wire. False: no room, try again after step().
  virtual bool put(std::span<const std::byte> frame) = 0;
  // What the port has sent and nobody has taken, as it would be on a wire: segments of TSO frames
  // one by one, checksums complete. Appended.
  virtual void get(std::vector<Bytes>& out) = 0;
  // Lets a little time pass, real or virtual.
  virtual void step() = 0;
};

struct NicFlavour {
  std::string name;
  // nullptr with a reason in `why_not` when the machine can't do it.
  std::function<std::unique_ptr<NicWorld>(std::string& why_not)> make;
};

// The flavours this build knows; a skipped one says so, and fails under STRICT=1.
const std::vector<NicFlavour>& nic_flavours();

}  // namespace penstock::conformance
