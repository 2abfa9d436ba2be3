#include "app/tap_io.hh"

#include <poll.h>

#include "disk_posix/posix_storage.hh"
#include "disk_uring/uring_storage.hh"
#include "host/arena_mapping.hh"
#include "host/clock.hh"
#include "host/wake_event.hh"
#include "net/stack.hh"
#include "nic_tap/ring_watch.hh"
#include "nic_tap/tap_port.hh"
#include "uring/ring.hh"

namespace penstock::app {
namespace {

// A sleep shorter than this would end too late for the pacer: look instead.
constexpr Duration kSleepMin = Duration::microseconds(50);

net::StackOptions stack_options(const IoOptions& options) {
  const TapIoOptions& tap = *options.tap;
  net::StackOptions stack;
  stack.connections_max = options.streams_max;
  stack.send_buffer = tap.send_buffer;
  stack.listen = tap.ports;
  stack.secret = tap.secret;
  stack.tso = tap.network.offload;
  for (const control::TapNetwork::Address& address : tap.network.addresses)
    stack.interfaces.push_back({address.address, address.prefix_length, address.gateway});
  return stack;
}

// What both flavours have of the network.
class TapIo : public ShardIo {
 public:
  TapIo(std::unique_ptr<nic_tap::TapPort> port, const IoOptions& options)
      : port_(std::move(port)),
        stack_(*port_, stack_options(options), host::MonotonicClock().now()) {
    for (const std::span<std::byte> memory : stack_.memory())
      host::prefer_huge_pages(memory);
    for (const control::TapNetwork::Address& address : options.tap->network.addresses) {
      for (const std::uint16_t number : options.tap->ports)
        bound_.push_back({address.address, number});
    }
  }

  StreamPort& streams() override { return stack_; }
  void flush(Instant now) override { stack_.flush(now); }
  [[nodiscard]] Instant next_timeout() const override { return stack_.next_timeout(); }
  [[nodiscard]] const std::vector<Endpoint>& bound() const override { return bound_; }
  [[nodiscard]] const std::string& congestion() const override { return congestion_; }
  [[nodiscard]] bool draining() const override { return stack_.connections() > 0; }
  [[nodiscard]] const char* splice_trouble() const override { return ""; }
  [[nodiscard]] const char* failure() const override {
    return port_->gone() ? "the TAP interface was deleted: make it again, then start again" : "";
  }

 protected:
  [[nodiscard]] bool may_sleep(Duration timeout) const {
    return timeout >= kSleepMin && !port_->more_received();
  }

  std::unique_ptr<nic_tap::TapPort> port_;
  net::Stack stack_;

 private:
  std::vector<Endpoint> bound_;
  const std::string congestion_ = "cubic";
};

class UringTapIo final : public TapIo {
 public:
  UringTapIo(std::unique_ptr<uring::Ring> ring, std::unique_ptr<nic_tap::TapPort> port,
             const IoOptions& options, const disk_uring::StorageOptions& storage)
      : TapIo(std::move(port), options),
        ring_(std::move(ring)),
        watch_(*ring_, port_->fd()),
        storage_(*ring_, storage) {}

  Storage& storage() override { return storage_; }
  Result<PoolIndex> open_pool(const std::string& directory) override {
    return storage_.open_pool(directory);
  }
  void wait(Duration timeout) override {
    const bool sleeps = may_sleep(timeout) && watch_.arm();
    ring_->wait(sleeps ? timeout : Duration{});
  }
  void wake() override { ring_->wake(); }
  [[nodiscard]] std::uint64_t system_calls() const override {
    return ring_->counters().enters + port_->counters().calls + storage_.counters().other_calls;
  }
  [[nodiscard]] const char* name() const override { return "tap and io_uring"; }

 private:
  std::unique_ptr<uring::Ring> ring_;
  nic_tap::RingWatch watch_;
  disk_uring::UringStorage storage_;
};

class PosixTapIo final : public TapIo {
 public:
  PosixTapIo(host::WakeEvent bell, std::unique_ptr<nic_tap::TapPort> port, const IoOptions& options,
             std::unique_ptr<disk_posix::PosixStorage> storage)
      : TapIo(std::move(port), options), bell_(std::move(bell)), storage_(std::move(storage)) {}

  Storage& storage() override { return *storage_; }
  Result<PoolIndex> open_pool(const std::string& directory) override {
    return storage_->open_pool(directory);
  }
  void wait(Duration timeout) override {
    pollfd entries[2] = {{port_->fd(), POLLIN, 0}, {bell_.fd(), POLLIN, 0}};
    const bool sleeps = may_sleep(timeout);
    const bool for_ever = sleeps && timeout == Duration::max();
    timespec time{};
    if (sleeps && !for_ever) {
      time.tv_sec = timeout.ns / 1'000'000'000;
      time.tv_nsec = timeout.ns % 1'000'000'000;
    }
    ++waits_;
    ::ppoll(entries, 2, for_ever ? nullptr : &time, nullptr);
    if ((entries[1].revents & POLLIN) != 0) bell_.quiet();
  }
  void wake() override { bell_.ring(); }
  [[nodiscard]] std::uint64_t system_calls() const override {
    return waits_ + port_->counters().calls + storage_->counters().calls;
  }
  [[nodiscard]] const char* name() const override { return "tap and threads"; }

 private:
  host::WakeEvent bell_;
  std::unique_ptr<disk_posix::PosixStorage> storage_;  // rings the bell: ends first
  std::uint64_t waits_ = 0;
};

Result<std::unique_ptr<ShardIo>> make_posix_tap_io(const IoOptions& options,
                                                   std::unique_ptr<nic_tap::TapPort> port) {
  auto bell = host::WakeEvent::create();
  if (!bell) return tl::unexpected(std::move(bell).error());
  disk_posix::StorageOptions storage_options;
  storage_options.direct = options.direct && options.capabilities.direct;
  storage_options.pages = options.pages;
  storage_options.openat2 = options.capabilities.openat2;
  storage_options.wake_fd = bell->fd();
  auto storage = disk_posix::PosixStorage::create(storage_options);
  if (!storage) return tl::unexpected(std::move(storage).error());
  return std::make_unique<PosixTapIo>(std::move(*bell), std::move(port), options,
                                      std::move(*storage));
}

}  // namespace

Result<std::unique_ptr<ShardIo>> make_tap_io(const IoOptions& options) {
  const control::TapNetwork& network = options.tap->network;
  auto port = nic_tap::TapPort::create(
      {.interface = network.interface, .offload = network.offload, .mac = {}});
  if (!port) return tl::unexpected(std::move(port).error());
  if (!options.capabilities.uring) return make_posix_tap_io(options, std::move(*port));
  auto ring = uring::Ring::create({});
  if (!ring) return tl::unexpected(std::move(ring).error());
  disk_uring::StorageOptions storage;
  storage.direct = options.direct && options.capabilities.direct;
  storage.pages = options.pages;
  return std::make_unique<UringTapIo>(std::move(*ring), std::move(*port), options, storage);
}

}  // namespace penstock::app
