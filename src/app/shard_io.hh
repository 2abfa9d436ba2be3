// The drivers of one shard, chosen by what the machine can do: everything through one io_uring, or
// epoll and pread threads.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.hh"
#include "base/parker.hh"
#include "base/result.hh"
#include "base/time.hh"
#include "control/engine_api.hh"
#include "host/arena_mapping.hh"
#include "host/capabilities.hh"
#include "store/storage.hh"
#include "stream/byte_stream.hh"

namespace penstock::app {

class NicEnvironment;

// Own TCP, instead of the kernel's.
struct OwnTcpOptions {
  control::OwnNetwork network;
  NicEnvironment* environment = nullptr;  // open_nic_environment's; outlives the drivers
  std::vector<std::uint16_t> ports;       // to listen at
  // Connections of ours are from this port to 65535. 0: from where the stack likes, and none where
  // the interface is shared with the kernel.
  std::uint16_t connect_from = 0;
  std::array<std::uint64_t, 2> secret{};  // unpredictable
  std::uint32_t send_buffer = 4u << 20;   // bytes, of a connection
};

struct IoOptions {
  host::Capabilities capabilities;
  std::vector<Endpoint> listen;                      // none: no listener
  bool direct = true;                                // O_DIRECT where the file system does it
  host::PageChoice pages = host::PageChoice::small;  // of the arena
  std::uint32_t streams_max = 4096;
  std::uint32_t receive_buffers = 1024;  // a power of two
  std::uint32_t receive_buffer_size = 4096;
  std::span<std::byte> content;          // the shard's part of the arena
  std::optional<OwnTcpOptions> own_tcp;  // else kernel TCP, at `listen`
};

class ShardIo : public Parker {
 public:
  virtual StreamPort& streams() = 0;
  virtual Storage& storage() = 0;
  // A directory with data. Indices count up from 0.
  virtual Result<PoolIndex> open_pool(const std::string& directory) = 0;
  // Submits what is due, waits at most this long for anything to happen (0: only looks), and takes
  // in what did.
  virtual void wait(Duration timeout) = 0;
  // At the end of a cycle: what the streams have to send goes out. Whether anything came or went
  // since the last time that the cycle may have said nothing of: an ACK, and what it let go.
  virtual bool flush(Instant now) {
    static_cast<void>(now);
    return false;
  }
  // When the streams have something to do although nothing happens.
  [[nodiscard]] virtual Instant next_timeout() const { return Instant::never(); }
  [[nodiscard]] virtual std::uint64_t system_calls() const = 0;
  [[nodiscard]] virtual const std::vector<Endpoint>& bound() const = 0;
  [[nodiscard]] virtual const std::string& congestion() const = 0;
  [[nodiscard]] virtual const char* name() const = 0;  // "io_uring" or "epoll"
  // Why nothing goes out by reference although that is wanted; empty: it does. Static.
  [[nodiscard]] virtual const char* splice_trouble() const = 0;
  // Streams are still being brought to an end, by us: the kernel won't do it.
  [[nodiscard]] virtual bool draining() const { return false; }
  // How payload left, where the device of own TCP tells.
  [[nodiscard]] virtual control::PayloadBytes payload() const { return {}; }
  // Why no peer can be reached any more, for good; empty: they can. Static.
  [[nodiscard]] virtual const char* failure() const { return ""; }
};

// On the shard's thread.
Result<std::unique_ptr<ShardIo>> make_shard_io(const IoOptions& options);

}  // namespace penstock::app
