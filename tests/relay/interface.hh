// One end of the relay: a TAP interface that it makes or opens (Linux behind it), or any interface
// through a packet socket (a TAP that somebody else has open, a veth).
//
// What comes is cut into the segments that a wire would carry; what goes out has its checksums.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/result.hh"
#include "host/fd.hh"
#include "nic_tap/vnet_header.hh"
#include "support/wire_frames.hh"

namespace penstock::relay {

class Interface {
 public:
  // "tap:NAME" or "packet:NAME".
  [[nodiscard]] static Result<std::unique_ptr<Interface>> open(const std::string& what);

  // The next frame of a wire; valid until the next call. Empty: none for now.
  std::span<const std::byte> receive();
  // False: the kernel took it not; it is lost and counted.
  bool send(std::span<const std::byte> frame);
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }

  struct Counters {
    std::uint64_t cut = 0;        // frames that came larger than a segment
    std::uint64_t malformed = 0;  // … whose header made no sense
    std::uint64_t send_failed = 0;
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }
  // Packet sockets: what the kernel had no room for. Read once, at the end.
  [[nodiscard]] std::uint64_t receive_drops() const;

 private:
  host::Fd fd_;
  std::string name_;
  bool is_tap_ = false;
  Counters counters_;
  std::unique_ptr<std::byte[]> buffer_;
  std::unique_ptr<support::WireFrames> frames_;  // of what was read last
  bool cutting_ = false;
};

}  // namespace penstock::relay
