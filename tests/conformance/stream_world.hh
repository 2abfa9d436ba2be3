// What the StreamPort suite needs of a pair of ports: one that listens, one that connects.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "stream/byte_stream.hh"

namespace penstock::conformance {

class StreamWorld {
 public:
  virtual ~StreamWorld() = default;
  virtual StreamPort& server() = 0;
  virtual StreamPort& client() = 0;
  // Where the server listens.
  virtual Endpoint address() = 0;
  virtual Instant now() = 0;
  // Lets a little time pass, real or virtual.
  virtual void step() = 0;
  // Re-derives what the ports believe, if they can.
  virtual void validate() {}
};

struct StreamFlavour {
  std::string name;
  // nullptr with a reason in `why_not` when the machine can't do it.
  std::function<std::unique_ptr<StreamWorld>(std::string& why_not)> make;
  bool real_sockets = false;
  bool by_reference = false;
};

// The flavours this build knows; a skipped one says so, and fails under STRICT=1.
const std::vector<StreamFlavour>& stream_flavours();

}  // namespace penstock::conformance
