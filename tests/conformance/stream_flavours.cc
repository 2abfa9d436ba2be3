#include <array>
#include <utility>

#include "host/clock.hh"
#include "stream_kernel/sockets.hh"
#include "stream_kernel/uring_streams.hh"
#include "stream_world.hh"
#include "uring/ring.hh"

namespace penstock::conformance {
namespace {

using stream_kernel::StreamOptions;

// Small enough that the suite meets their limits.
StreamOptions small_options(bool splice) {
  StreamOptions options;
  options.streams_max = 64;
  options.buffer_count = 32;
  options.buffer_size = 4096;
  options.splice = splice;
  options.splice_bytes_min = 16 * 1024;
  options.linger = Duration::seconds(2);
  return options;
}

class UringWorld final : public StreamWorld {
 public:
  static std::unique_ptr<StreamWorld> make(bool splice, std::string& why_not) {
    auto world = std::make_unique<UringWorld>();
    const Endpoint any{IpAddress::v4(127, 0, 0, 1), 0};
    auto listeners = stream_kernel::open_listeners({&any, 1}, {});
    if (!listeners) return refuse(listeners.error(), why_not);
    world->address_ = listeners->bound[0];
    for (std::size_t i = 0; i < 2; ++i) {
      auto ring = uring::Ring::create({.entries = 64, .cq_entries = 256});
      if (!ring) return refuse(ring.error(), why_not);
      world->rings_[i] = std::move(*ring);
      stream_kernel::Listeners own;
      if (i == 0) own = std::move(*listeners);
      auto port = stream_kernel::UringStreams::create(*world->rings_[i], std::move(own),
                                                      small_options(splice));
      if (!port) return refuse(port.error(), why_not);
      world->ports_[i] = std::move(*port);
      if (splice && !world->ports_[i]->send_path().splices()) {
        why_not = world->ports_[i]->send_path().splice_trouble();
        return nullptr;
      }
    }
    return world;
  }

  StreamPort& server() override { return *ports_[0]; }
  StreamPort& client() override { return *ports_[1]; }
  Endpoint address() override { return address_; }
  Instant now() override { return clock_.now(); }
  void step() override {
    rings_[0]->wait(Duration::microseconds(100));
    rings_[1]->wait(Duration::microseconds(100));
  }
  void validate() override {
    ports_[0]->validate();
    ports_[1]->validate();
  }

 private:
  static std::unique_ptr<StreamWorld> refuse(const Error& error, std::string& why_not) {
    why_not = error.message;
    return nullptr;
  }

  host::MonotonicClock clock_;
  Endpoint address_;
  std::array<std::unique_ptr<uring::Ring>, 2> rings_;
  std::array<std::unique_ptr<stream_kernel::UringStreams>, 2> ports_;
};

}  // namespace

const std::vector<StreamFlavour>& stream_flavours() {
  static const std::vector<StreamFlavour> flavours{
      {"uring_copy", [](std::string& why) { return UringWorld::make(false, why); }, true, false},
      {"uring_splice", [](std::string& why) { return UringWorld::make(true, why); }, true, true},
  };
  return flavours;
}

}  // namespace penstock::conformance
