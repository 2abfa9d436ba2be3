// Writes a capture for Wireshark (pcapng, nanoseconds): what each end of a simulated link sent and
// received, with what became of a frame as its comment.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string_view>

#include "base/time.hh"

namespace penstock::support {

class PcapngWriter {
 public:
  // Opens `path`; opened() says whether that worked. Interfaces are numbered in order of
  // add_interface.
  explicit PcapngWriter(const char* path);
  ~PcapngWriter();
  PcapngWriter(const PcapngWriter&) = delete;
  PcapngWriter& operator=(const PcapngWriter&) = delete;

  [[nodiscard]] bool opened() const { return file_ != nullptr; }
  void add_interface(std::string_view name);
  void write(Instant at, std::uint32_t interface, bool outbound, std::span<const std::byte> frame,
             std::string_view comment);
  // True: everything written until now is in the file.
  bool flush();

 private:
  void block(std::uint32_t type, std::span<const std::byte> body);

  std::FILE* file_ = nullptr;
};

}  // namespace penstock::support
