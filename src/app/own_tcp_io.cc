#include "app/own_tcp_io.hh"

#include <algorithm>
#include <utility>

#include <poll.h>

#include "app/nic_device.hh"
#include "disk_posix/posix_storage.hh"
#include "disk_uring/uring_storage.hh"
#include "host/arena_mapping.hh"
#include "host/clock.hh"
#include "host/wake_event.hh"
#include "net/stack.hh"
#include "nic_tap/ring_watch.hh"
#include "uring/ring.hh"

namespace penstock::app {
namespace {

// A sleep shorter than this would end too late for the pacer: look instead.
constexpr Duration kSleepMin = Duration::microseconds(50);
// A device that has nothing to be waited for is looked at as often as this (ARCHITECTURE §3).
constexpr Duration kLookPeriod = Duration::microseconds(200);

net::StackOptions stack_options(const IoOptions& options) {
  const OwnTcpOptions& own = *options.own_tcp;
  net::StackOptions stack;
  stack.connections_max = options.streams_max;
  stack.send_buffer = own.send_buffer;
  stack.listen = own.ports;
  if (own.connect_from != 0) stack.ephemeral_first = own.connect_from;
  stack.secret = own.secret;
  stack.tso = own.network.offload;
  for (const control::OwnNetwork::Address& address : own.network.addresses)
    stack.interfaces.push_back({address.address, address.prefix_length, address.gateway});
  return stack;
}

// What both flavours have of the network.
class OwnTcpIo : public ShardIo {
 public:
  OwnTcpIo(std::unique_ptr<NicDevice> nic, const IoOptions& options)
      : nic_(std::move(nic)),
        stack_(nic_->port(), stack_options(options), host::MonotonicClock().now()) {
    for (const std::span<std::byte> memory : stack_.memory())
      host::prefer_huge_pages(memory);
    for (const control::OwnNetwork::Address& address : options.own_tcp->network.addresses) {
      for (const std::uint16_t number : options.own_tcp->ports)
        bound_.push_back({address.address, number});
    }
  }
  // Frames that the device still has refer to the stack's memory.
  ~OwnTcpIo() override { nic_->stop(); }

  StreamPort& streams() override { return stack_; }
  bool flush(Instant now) override {
    stack_.flush(now);
    const net::StackCounters& counters = stack_.counters();
    const std::uint64_t frames = counters.frames_in + counters.frames_out;
    return std::exchange(frames_, frames) != frames;
  }
  [[nodiscard]] Instant next_timeout() const override { return stack_.next_timeout(); }
  [[nodiscard]] const std::vector<Endpoint>& bound() const override { return bound_; }
  [[nodiscard]] const std::string& congestion() const override { return congestion_; }
  [[nodiscard]] bool draining() const override { return stack_.connections() > 0; }
  [[nodiscard]] const char* splice_trouble() const override { return ""; }
  [[nodiscard]] const char* failure() const override { return nic_->failure(); }
  [[nodiscard]] control::PayloadBytes payload() const override { return nic_->payload(); }

 protected:
  // What of `timeout` may be slept: nothing, or until the device has to be looked at.
  [[nodiscard]] Duration sleep_of(Duration timeout) const {
    if (timeout < kSleepMin || nic_->more_received()) return Duration{};
    return nic_->fd() >= 0 ? timeout : std::min(timeout, kLookPeriod);
  }

  std::unique_ptr<NicDevice> nic_;
  net::Stack stack_;

 private:
  std::vector<Endpoint> bound_;
  std::uint64_t frames_ = 0;
  const std::string congestion_ = "cubic";
};

class UringOwnTcpIo final : public OwnTcpIo {
 public:
  UringOwnTcpIo(std::unique_ptr<uring::Ring> ring, std::unique_ptr<NicDevice> nic,
                const IoOptions& options, const disk_uring::StorageOptions& storage)
      : OwnTcpIo(std::move(nic), options), ring_(std::move(ring)), storage_(*ring_, storage) {
    if (nic_->fd() >= 0) watch_.emplace(*ring_, nic_->fd());
  }

  Storage& storage() override { return storage_; }
  Result<PoolIndex> open_pool(const std::string& directory) override {
    return storage_.open_pool(directory);
  }
  void wait(Duration timeout) override {
    const Duration sleep = sleep_of(timeout);
    const bool sleeps = sleep > Duration{} && (!watch_ || watch_->arm());
    ring_->wait(sleeps ? sleep : Duration{});
  }
  void wake() override { ring_->wake(); }
  [[nodiscard]] std::uint64_t system_calls() const override {
    return ring_->counters().enters + nic_->system_calls() + storage_.counters().other_calls;
  }
  [[nodiscard]] const char* name() const override { return "own TCP and io_uring"; }

 private:
  std::unique_ptr<uring::Ring> ring_;
  std::optional<nic_tap::RingWatch> watch_;
  disk_uring::UringStorage storage_;
};

class PosixOwnTcpIo final : public OwnTcpIo {
 public:
  PosixOwnTcpIo(host::WakeEvent bell, std::unique_ptr<NicDevice> nic, const IoOptions& options,
                std::unique_ptr<disk_posix::PosixStorage> storage)
      : OwnTcpIo(std::move(nic), options), bell_(std::move(bell)), storage_(std::move(storage)) {}

  Storage& storage() override { return *storage_; }
  Result<PoolIndex> open_pool(const std::string& directory) override {
    return storage_->open_pool(directory);
  }
  void wait(Duration timeout) override {
    pollfd entries[2] = {{nic_->fd(), POLLIN, 0}, {bell_.fd(), POLLIN, 0}};
    const Duration sleep = sleep_of(timeout);
    const bool for_ever = sleep == Duration::max();
    timespec time{};
    if (!for_ever) {
      time.tv_sec = sleep.ns / 1'000'000'000;
      time.tv_nsec = sleep.ns % 1'000'000'000;
    }
    ++waits_;
    ::ppoll(entries, 2, for_ever ? nullptr : &time, nullptr);
    if ((entries[1].revents & POLLIN) != 0) bell_.quiet();
  }
  void wake() override { bell_.ring(); }
  [[nodiscard]] std::uint64_t system_calls() const override {
    return waits_ + nic_->system_calls() + storage_->counters().calls;
  }
  [[nodiscard]] const char* name() const override { return "own TCP and threads"; }

 private:
  host::WakeEvent bell_;
  std::unique_ptr<disk_posix::PosixStorage> storage_;  // rings the bell: ends first
  std::uint64_t waits_ = 0;
};

Result<std::unique_ptr<ShardIo>> make_posix_own_tcp_io(const IoOptions& options,
                                                       std::unique_ptr<NicDevice> nic) {
  auto bell = host::WakeEvent::create();
  if (!bell) return tl::unexpected(std::move(bell).error());
  disk_posix::StorageOptions storage_options;
  storage_options.direct = options.direct && options.capabilities.direct;
  storage_options.pages = options.pages;
  storage_options.openat2 = options.capabilities.openat2;
  storage_options.wake_fd = bell->fd();
  auto storage = disk_posix::PosixStorage::create(storage_options);
  if (!storage) return tl::unexpected(std::move(storage).error());
  return std::make_unique<PosixOwnTcpIo>(std::move(*bell), std::move(nic), options,
                                         std::move(*storage));
}

}  // namespace

Result<std::unique_ptr<ShardIo>> make_own_tcp_io(const IoOptions& options) {
  const OwnTcpOptions& own = *options.own_tcp;
  auto nic = open_nic({own.network, own.environment, options.capabilities, options.content,
                       own.ports, own.connect_from});
  if (!nic) return tl::unexpected(std::move(nic).error());
  if (!options.capabilities.uring) return make_posix_own_tcp_io(options, std::move(*nic));
  auto ring = uring::Ring::create({});
  if (!ring) return tl::unexpected(std::move(ring).error());
  disk_uring::StorageOptions storage;
  storage.direct = options.direct && options.capabilities.direct;
  storage.pages = options.pages;
  return std::make_unique<UringOwnTcpIo>(std::move(*ring), std::move(*nic), options, storage);
}

}  // namespace penstock::app
