#include "nic_xdp/xsk_socket.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <poll.h>
#include <sys/socket.h>

#include "base/assert.hh"
#include "host/errors.hh"

namespace penstock::nic_xdp {
namespace {

// Newer than Debian 12's headers.
constexpr std::uint16_t kUseMultiBuffer = 1 << 4;  // XDP_USE_SG, Linux 6.6
constexpr std::uint32_t kContinued = 1 << 0;       // XDP_PKT_CONTD: the frame goes on in the next
constexpr int kTxBudget = 9;                       // XDP_MAX_TX_SKB_BUDGET, Linux 6.18

// Frames of several chunks that one burst may have in one piece; 16 of the largest.
constexpr std::size_t kScratchSize = 1u << 20;
// What the kernel may keep of ours in socket buffers, bytes: a TX ring full of them.
constexpr int kSendBuffer = 8 << 20;
// Frames that a kick sends at least where the kernel copies (TX_BATCH_SIZE was 16, then 32).
constexpr std::uint32_t kBatch = 16;

std::string place_of(const XskOptions& options) {
  return "interface " + options.interface + ", queue " + std::to_string(options.queue);
}

tl::unexpected<Error> no_socket(int error) {
  if (error == EPERM) {
    return fail(
        "AF_XDP socket: not permitted: run as root, or once: sudo setcap "
        "cap_net_admin,cap_net_raw,cap_bpf+ep PROGRAM",
        ErrorKind::io);
  }
  if (error == EAFNOSUPPORT)
    return fail("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS): use another backend",
                ErrorKind::io);
  return host::os_error("AF_XDP socket", error);
}

tl::unexpected<Error> no_memory(const XskOptions& options, std::size_t size, int error) {
  if (error == ENOBUFS || error == ENOMEM) {
    return fail(place_of(options) + ": " + std::to_string(size >> 10) +
                    " KiB of memory can't be locked: raise the limit (ulimit -l, LimitMEMLOCK= of "
                    "the service) or give cap_ipc_lock too",
                ErrorKind::io);
  }
  return host::os_error(place_of(options) + ": registering memory", error);
}

tl::unexpected<Error> no_binding(const XskOptions& options, int error) {
  switch (error) {
    case EBUSY:
      return fail(place_of(options) + ": another AF_XDP socket has it", ErrorKind::io);
    case EINVAL:
      if (options.multi_buffer) {
        return fail(place_of(options) +
                        ": frames of this MTU need several buffers, which this kernel hasn't for "
                        "AF_XDP (Linux 6.6): ip link set dev " +
                        options.interface + " mtu 3000",
                    ErrorKind::io);
      }
      return fail(place_of(options) + ": there is no such queue", ErrorKind::io);
    default:
      return host::os_error(place_of(options) + ": binding an AF_XDP socket", error);
  }
}

// 0 or errno. The kernel lets go of a queue some time after its last socket was closed, perhaps
// that of a process that ended just now.
int bind_patiently(int fd, const sockaddr_xdp& address) {
  constexpr int kTries = 100, kPauseMs = 10;
  for (int i = 0;; ++i) {
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return 0;
    if (errno != EBUSY || i == kTries) return errno;
    ::poll(nullptr, 0, kPauseMs);
  }
}

template <class T>
Result<RingMemory<T>> map_ring(int fd, const xdp_ring_offset& offset, std::uint64_t page,
                               std::uint32_t entries, Mapping& out) {
  auto mapping = Mapping::of_ring(fd, page, offset.desc + entries * sizeof(T));
  if (!mapping) return tl::unexpected(std::move(mapping).error());
  out = std::move(*mapping);
  const auto word = [&](std::uint64_t at) {
    return reinterpret_cast<std::uint32_t*>(out.data() + at);
  };
  return RingMemory<T>{word(offset.producer), word(offset.consumer), word(offset.flags),
                       reinterpret_cast<T*>(out.data() + offset.desc), entries};
}

}  // namespace

Result<std::unique_ptr<XskSocket>> XskSocket::create(const XskOptions& options) {
  std::unique_ptr<XskSocket> socket(new XskSocket(options));
  socket->fd_ = host::Fd(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket->fd_.valid()) return no_socket(errno);
  if (auto done = socket->register_memory(options); !done) return tl::unexpected(done.error());
  if (auto done = socket->map_rings(options); !done) return tl::unexpected(done.error());
  socket->hand_out_chunks();
  if (auto done = socket->bind_to_queue(options); !done) return tl::unexpected(done.error());
  return socket;
}

XskSocket::XskSocket(const XskOptions& options)
    : queue_(options.queue),
      chunk_size_(options.chunk_size),
      rx_chunks_(options.rx_chunks),
      tx_chunks_(options.tx_chunks) {
  tx_free_.reserve(tx_chunks_);
  lent_.reserve(rx_chunks_);
  if (options.multi_buffer) scratch_ = std::make_unique<std::byte[]>(kScratchSize);
}

Result<void> XskSocket::register_memory(const XskOptions& options) {
  const std::size_t size = std::size_t{rx_chunks_ + tx_chunks_} * chunk_size_;
  auto memory = Mapping::anonymous(size);
  if (!memory) return tl::unexpected(std::move(memory).error());
  umem_ = std::move(*memory);
  xdp_umem_reg region{};
  region.addr = reinterpret_cast<std::uintptr_t>(umem_.data());
  region.len = size;
  region.chunk_size = chunk_size_;
  if (::setsockopt(fd_.get(), SOL_XDP, XDP_UMEM_REG, &region, sizeof region) != 0)
    return no_memory(options, size, errno);
  return {};
}

Result<void> XskSocket::map_rings(const XskOptions& options) {
  const int fd = fd_.get();
  for (const auto& [name, size] :
       {std::pair{XDP_UMEM_FILL_RING, rx_chunks_}, std::pair{XDP_UMEM_COMPLETION_RING, tx_chunks_},
        std::pair{XDP_RX_RING, rx_chunks_}, std::pair{XDP_TX_RING, tx_chunks_}}) {
    if (::setsockopt(fd, SOL_XDP, name, &size, sizeof size) != 0)
      return host::os_error(place_of(options) + ": making a ring", errno);
  }
  xdp_mmap_offsets offsets{};
  socklen_t length = sizeof offsets;
  if (::getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length) != 0 ||
      length != sizeof offsets) {
    return fail("this kernel's AF_XDP is too old (Linux 5.4 at least)", ErrorKind::io);
  }
  const auto fill =
      map_ring<std::uint64_t>(fd, offsets.fr, XDP_UMEM_PGOFF_FILL_RING, rx_chunks_, fill_memory_);
  const auto completion = map_ring<std::uint64_t>(fd, offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING,
                                                  tx_chunks_, completion_memory_);
  const auto rx = map_ring<xdp_desc>(fd, offsets.rx, XDP_PGOFF_RX_RING, rx_chunks_, rx_memory_);
  const auto tx = map_ring<xdp_desc>(fd, offsets.tx, XDP_PGOFF_TX_RING, tx_chunks_, tx_memory_);
  if (!fill) return tl::unexpected(fill.error());
  if (!completion) return tl::unexpected(completion.error());
  if (!rx) return tl::unexpected(rx.error());
  if (!tx) return tl::unexpected(tx.error());
  fill_ = ProducerRing(*fill);
  completion_ = ConsumerRing(*completion);
  rx_ = ConsumerRing(*rx);
  tx_ = ProducerRing(*tx);
  return {};
}

Result<void> XskSocket::bind_to_queue(const XskOptions& options) {
  const int fd = fd_.get();
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer) != 0)
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
  // One call for a burst, where the kernel allows it.
  ::setsockopt(fd, SOL_XDP, kTxBudget, &tx_chunks_, sizeof tx_chunks_);
  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_ifindex = options.interface_index;
  address.sxdp_queue_id = options.queue;
  // Without XDP_COPY the kernel takes zero copy where the driver has it.
  address.sxdp_flags =
      static_cast<std::uint16_t>(XDP_USE_NEED_WAKEUP | (options.zero_copy ? 0 : XDP_COPY) |
                                 (options.multi_buffer ? kUseMultiBuffer : 0));
  if (const int error = bind_patiently(fd, address); error != 0) return no_binding(options, error);
  xdp_options facts{};
  socklen_t length = sizeof facts;
  zero_copy_ = ::getsockopt(fd, SOL_XDP, XDP_OPTIONS, &facts, &length) == 0 &&
               (facts.flags & XDP_OPTIONS_ZEROCOPY) != 0;
  return {};
}

void XskSocket::hand_out_chunks() {
  for (std::uint64_t i = 0; i < rx_chunks_; ++i)
    fill_.write(i * chunk_size_);
  fill_.submit();
  for (std::uint64_t i = tx_chunks_; i-- > 0;)
    tx_free_.push_back((rx_chunks_ + i) * chunk_size_);
}

void XskSocket::take_back() {
  DCHECK(fill_.room(static_cast<std::uint32_t>(lent_.size())) >= lent_.size());
  for (const std::uint64_t address : lent_)
    fill_.write(address);
  fill_.submit();
  lent_.clear();
  scratch_used_ = 0;
  // The driver had run dry and doesn't look again by itself.
  if (fill_.needs_wakeup()) {
    ++counters_.calls;
    ::recvfrom(fd_.get(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
  }
}

std::size_t XskSocket::receive(std::span<net::RxFrame> out) {
  std::size_t count = 0;
  std::uint32_t ahead = 0;
  while (count < out.size() && rx_.available(ahead + 1) > ahead) {
    const std::uint32_t chunks = chunks_of_frame(ahead);
    if (chunks == 0) break;
    const xdp_desc& first = rx_.peek(ahead);
    const std::span<const std::byte> bytes =
        chunks == 1 ? std::span<const std::byte>(chunk(first.addr), first.len)
                    : linearise(ahead, chunks);
    if (bytes.empty()) break;
    out[count++] = {bytes, net::RxChecksum::unknown, 0};
    ++counters_.rx_frames;
    counters_.rx_bytes += bytes.size();
    for (std::uint32_t i = 0; i < chunks; ++i)
      lent_.push_back(rx_.peek(ahead + i).addr & ~std::uint64_t{chunk_size_ - 1});
    ahead += chunks;
  }
  rx_.release(ahead);
  return count;
}

// 0: its end isn't there yet.
std::uint32_t XskSocket::chunks_of_frame(std::uint32_t ahead) {
  for (std::uint32_t i = 0; rx_.available(ahead + i + 1) > ahead + i; ++i) {
    if ((rx_.peek(ahead + i).options & kContinued) == 0) return i + 1;
  }
  return 0;
}

// Empty: no room for it in this burst.
std::span<const std::byte> XskSocket::linearise(std::uint32_t ahead, std::uint32_t chunks) {
  std::size_t size = 0;
  for (std::uint32_t i = 0; i < chunks; ++i)
    size += rx_.peek(ahead + i).len;
  if (scratch_ == nullptr || size > kScratchSize - scratch_used_) return {};
  std::byte* const begin = scratch_.get() + scratch_used_;
  std::byte* to = begin;
  for (std::uint32_t i = 0; i < chunks; ++i) {
    const xdp_desc& part = rx_.peek(ahead + i);
    std::memcpy(to, chunk(part.addr), part.len);
    to += part.len;
  }
  scratch_used_ += size;
  ++counters_.rx_linearised;
  return {begin, size};
}

std::size_t XskSocket::send(std::span<const net::TxFrame> frames) {
  if (gone_) {
    counters_.tx_down += frames.size();
    return frames.size();
  }
  reap();
  std::size_t taken = 0;
  for (const net::TxFrame& frame : frames) {
    // A free chunk has a place in the TX ring, which is as large.
    if (tx_free_.size() < chunks_for(frame.length())) break;
    write_frame(frame);
    ++taken;
  }
  tx_.submit();
  kick();
  if (taken < frames.size()) ++counters_.tx_short;
  return taken;
}

void XskSocket::reap() {
  const std::uint32_t count = completion_.available(tx_chunks_);
  for (std::uint32_t i = 0; i < count; ++i)
    tx_free_.push_back(completion_.peek(i) & ~std::uint64_t{chunk_size_ - 1});
  completion_.release(count);
}

void XskSocket::write_frame(const net::TxFrame& frame) {
  DCHECK(frame.head_length >= 14 && frame.head_length <= net::kHeadMax);
  DCHECK(frame.part_count <= net::kPayloadPartsMax);
  DCHECK(frame.transport_at == 0 && frame.segment_size == 0);  // NicInfo offers neither
  std::uint64_t address = tx_free_.back();
  tx_free_.pop_back();
  std::uint32_t used = 0;
  const auto put = [&](const std::byte* data, std::size_t length) {
    while (length > 0) {
      if (used == chunk_size_) {
        tx_.write({address, used, kContinued});
        address = tx_free_.back();
        tx_free_.pop_back();
        used = 0;
      }
      const auto piece = std::min<std::size_t>(length, chunk_size_ - used);
      std::memcpy(chunk(address) + used, data, piece);
      used += static_cast<std::uint32_t>(piece);
      data += piece;
      length -= piece;
    }
  };
  put(frame.head.data(), frame.head_length);
  for (std::size_t i = 0; i < frame.part_count; ++i) {
    put(frame.parts[i].data, frame.parts[i].length);
    counters_.payload_bytes_copied += frame.parts[i].length;
  }
  DCHECK(tx_.room(1) != 0);
  tx_.write({address, used, 0});
  ++counters_.tx_frames;
  counters_.tx_bytes += frame.length();
}

void XskSocket::kick_tx() {
  unsent_ = false;
  if (!tx_.needs_wakeup()) return;
  const std::uint32_t kicks_max = tx_chunks_ / kBatch + 1;
  for (std::uint32_t i = 0; i < kicks_max; ++i) {
    const std::uint32_t before = tx_.pending();
    ++counters_.calls;
    if (::sendto(fd_.get(), nullptr, 0, MSG_DONTWAIT, nullptr, 0) >= 0) return;
    switch (errno) {
      case EBUSY:  // one frame was lost by the device
      case EINTR:
        break;
      case ENETDOWN:  // what waits goes out when the interface is up again
        ++counters_.tx_down;
        return;
      case ENXIO:
        gone_ = true;
        return;
      default:  // EAGAIN after a batch, or for want of memory (ENOBUFS, ENOMEM)
        if (tx_.pending() != before) break;
        unsent_ = true;
        return;
    }
  }
  unsent_ = true;
}

void XskSocket::look_for_end() {
  // ENETDOWN, when the interface was deleted; one that is only down says nothing.
  int error = 0;
  socklen_t length = sizeof error;
  ++counters_.calls;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == ENETDOWN)
    gone_ = true;
}

xdp_statistics XskSocket::kernel_counters() const {
  xdp_statistics statistics{};
  socklen_t length = sizeof statistics;
  ::getsockopt(fd_.get(), SOL_XDP, XDP_STATISTICS, &statistics, &length);
  return statistics;
}

}  // namespace penstock::nic_xdp
