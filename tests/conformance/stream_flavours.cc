#include <array>
#include <utility>

#include "host/clock.hh"
#include "stream_kernel/epoll_streams.hh"
#include "stream_kernel/sockets.hh"
#include "stream_kernel/uring_streams.hh"
#include "stream_world.hh"
#include "support/memory_streams.hh"
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
  options.linger = Duration::seconds(2);
  return options;
}

std::unique_ptr<StreamWorld> refuse(const Error& error, std::string& why_not) {
  why_not = error.message;
  return nullptr;
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
  host::MonotonicClock clock_;
  Endpoint address_;
  std::array<std::unique_ptr<uring::Ring>, 2> rings_;
  std::array<std::unique_ptr<stream_kernel::UringStreams>, 2> ports_;
};

class EpollWorld final : public StreamWorld {
 public:
  static std::unique_ptr<StreamWorld> make(bool splice, std::string& why_not) {
    auto world = std::make_unique<EpollWorld>();
    const Endpoint any{IpAddress::v4(127, 0, 0, 1), 0};
    auto listeners = stream_kernel::open_listeners({&any, 1}, {});
    if (!listeners) return refuse(listeners.error(), why_not);
    world->address_ = listeners->bound[0];
    for (std::size_t i = 0; i < 2; ++i) {
      stream_kernel::Listeners own;
      if (i == 0) own = std::move(*listeners);
      auto port = stream_kernel::EpollStreams::create(std::move(own), small_options(splice));
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
    ports_[0]->wait(Duration::microseconds(100));
    ports_[1]->wait(Duration::microseconds(100));
  }
  void validate() override {
    ports_[0]->validate();
    ports_[1]->validate();
  }

 private:
  host::MonotonicClock clock_;
  Endpoint address_;
  std::array<std::unique_ptr<stream_kernel::EpollStreams>, 2> ports_;
};

class MemoryWorld final : public StreamWorld {
 public:
  MemoryWorld(bool by_reference, const support::LinkOptions& link) : network_(clock_, link) {
    support::ExposureLedger* const ledger = by_reference ? &ledger_ : nullptr;
    const support::PortOptions options{.streams_max = 64, .ledger = ledger};
    const Endpoint client{IpAddress::v4(192, 0, 2, 2), 6881};
    server_ = &network_.add_port(address(), options);
    client_ = &network_.add_port(client, options);
  }
  StreamPort& server() override { return *server_; }
  StreamPort& client() override { return *client_; }
  Endpoint address() override { return {IpAddress::v4(192, 0, 2, 1), 6881}; }
  Instant now() override { return clock_.now(); }
  void step() override {
    const Instant soon = clock_.now() + Duration::milliseconds(1);
    clock_.advance_to(earlier(network_.next_event(), soon));
  }
  void validate() override {
    server_->validate();
    client_->validate();
  }

 private:
  support::VirtualClock clock_;
  support::ExposureLedger ledger_;
  support::MemoryNetwork network_;
  support::MemoryStreams* server_ = nullptr;
  support::MemoryStreams* client_ = nullptr;
};

}  // namespace

const std::vector<StreamFlavour>& stream_flavours() {
  static const std::vector<StreamFlavour> flavours{
      {"uring_copy", [](std::string& why) { return UringWorld::make(false, why); }, true, false},
      {"uring_splice", [](std::string& why) { return UringWorld::make(true, why); }, true, true},
      {"epoll_copy", [](std::string& why) { return EpollWorld::make(false, why); }, true, false},
      {"epoll_splice", [](std::string& why) { return EpollWorld::make(true, why); }, true, true},
      {"memory",
       [](std::string&) { return std::make_unique<MemoryWorld>(false, support::LinkOptions{}); }},
      {"memory_by_reference",
       [](std::string&) {
         return std::make_unique<MemoryWorld>(true, support::LinkOptions{.seed = 2});
       },
       false, true},
      {"memory_slow_link",
       [](std::string&) {
         support::LinkOptions link{.seed = 3, .latency = Duration::milliseconds(2)};
         link.segment_max = 1448;
         link.window = 100'000;
         link.rate = 50'000'000;
         return std::make_unique<MemoryWorld>(false, link);
       }},
  };
  return flavours;
}

}  // namespace penstock::conformance
