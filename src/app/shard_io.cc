#include "app/shard_io.hh"

#include "app/own_tcp_io.hh"
#include "disk_posix/posix_storage.hh"
#include "disk_uring/uring_storage.hh"
#include "stream_kernel/epoll_streams.hh"
#include "stream_kernel/uring_streams.hh"
#include "uring/ring.hh"

namespace penstock::app {
namespace {

stream_kernel::StreamOptions stream_options(const IoOptions& options) {
  stream_kernel::StreamOptions streams;
  streams.streams_max = options.streams_max;
  streams.buffer_count = options.receive_buffers;
  streams.buffer_size = options.receive_buffer_size;
  streams.splice = options.capabilities.splice;
  return streams;
}

class UringIo final : public ShardIo {
 public:
  UringIo(std::unique_ptr<uring::Ring> ring, std::unique_ptr<stream_kernel::UringStreams> streams,
          const disk_uring::StorageOptions& storage)
      : ring_(std::move(ring)), streams_(std::move(streams)), storage_(*ring_, storage) {}

  StreamPort& streams() override { return *streams_; }
  Storage& storage() override { return storage_; }
  Result<PoolIndex> open_pool(const std::string& directory) override {
    return storage_.open_pool(directory);
  }
  void wait(Duration timeout) override { ring_->wait(timeout); }
  void wake() override { ring_->wake(); }
  std::uint64_t system_calls() const override {
    return ring_->counters().enters + streams_->counters().syscalls() +
           storage_.counters().other_calls;
  }
  const std::vector<Endpoint>& bound() const override { return streams_->listeners().bound; }
  const std::string& congestion() const override { return streams_->listeners().congestion; }
  const char* name() const override { return "io_uring"; }
  const char* splice_trouble() const override { return streams_->send_path().splice_trouble(); }

 private:
  std::unique_ptr<uring::Ring> ring_;
  std::unique_ptr<stream_kernel::UringStreams> streams_;
  disk_uring::UringStorage storage_;
};

class PosixIo final : public ShardIo {
 public:
  PosixIo(std::unique_ptr<stream_kernel::EpollStreams> streams,
          std::unique_ptr<disk_posix::PosixStorage> storage)
      : streams_(std::move(streams)), storage_(std::move(storage)) {}

  StreamPort& streams() override { return *streams_; }
  Storage& storage() override { return *storage_; }
  Result<PoolIndex> open_pool(const std::string& directory) override {
    return storage_->open_pool(directory);
  }
  void wait(Duration timeout) override { streams_->wait(timeout); }
  void wake() override { streams_->wake(); }
  std::uint64_t system_calls() const override {
    return streams_->counters().syscalls() + storage_->counters().calls;
  }
  const std::vector<Endpoint>& bound() const override { return streams_->listeners().bound; }
  const std::string& congestion() const override { return streams_->listeners().congestion; }
  const char* name() const override { return "epoll"; }
  const char* splice_trouble() const override { return streams_->send_path().splice_trouble(); }

 private:
  std::unique_ptr<stream_kernel::EpollStreams> streams_;
  std::unique_ptr<disk_posix::PosixStorage> storage_;  // rings the streams' bell: ends first
};

Result<std::unique_ptr<ShardIo>> make_posix_io(const IoOptions& options,
                                               stream_kernel::Listeners listeners) {
  auto streams = stream_kernel::EpollStreams::create(std::move(listeners), stream_options(options));
  if (!streams) return tl::unexpected(std::move(streams).error());
  disk_posix::StorageOptions storage_options;
  storage_options.direct = options.direct && options.capabilities.direct;
  storage_options.pages = options.pages;
  storage_options.openat2 = options.capabilities.openat2;
  storage_options.wake_fd = (*streams)->wake_fd();
  auto storage = disk_posix::PosixStorage::create(storage_options);
  if (!storage) return tl::unexpected(std::move(storage).error());
  return std::make_unique<PosixIo>(std::move(*streams), std::move(*storage));
}

}  // namespace

Result<std::unique_ptr<ShardIo>> make_shard_io(const IoOptions& options) {
  if (options.own_tcp) return make_own_tcp_io(options);
  auto listeners = stream_kernel::open_listeners(options.listen, {});
  if (!listeners) return tl::unexpected(std::move(listeners).error());
  if (!options.capabilities.uring) return make_posix_io(options, std::move(*listeners));
  auto ring = uring::Ring::create({});
  if (!ring) return tl::unexpected(std::move(ring).error());
  auto streams =
      stream_kernel::UringStreams::create(**ring, std::move(*listeners), stream_options(options));
  if (!streams) return tl::unexpected(std::move(streams).error());
  disk_uring::StorageOptions storage;
  storage.direct = options.direct && options.capabilities.direct;
  storage.pages = options.pages;
  return std::make_unique<UringIo>(std::move(*ring), std::move(*streams), storage);
}

}  // namespace penstock::app
