#include "nic_xdp/xdp_port.hh"

#include <algorithm>
#include <cerrno>
#include <numeric>

#include <sys/epoll.h>

#include "base/assert.hh"
#include "host/errors.hh"

namespace penstock::nic_xdp {
namespace {

constexpr std::uint32_t kSmallChunk = 2048;
constexpr std::uint32_t kLargeChunk = 4096;  // no chunk may be larger than a page
// Ethernet, and a tag that a device may leave in front.
constexpr std::uint32_t kLinkHeader = wire::kEthernetSize + wire::kVlanTagSize;
// A driver with one buffer a frame keeps 320 bytes at its end and 256 in front (veth, virtio).
constexpr std::uint32_t kOneBufferMtu = kLargeChunk - 320 - kChunkHeadroom - kLinkHeader;
// How often an idle port asks whether its interface is still there.
constexpr std::uint32_t kEmptyBurstsMax = 1024;

std::uint32_t chunk_size(std::uint16_t mtu) {
  return mtu + kLinkHeader + kChunkHeadroom <= kSmallChunk ? kSmallChunk : kLargeChunk;
}

bool needs_multi_buffer(const KernelInterface& kernel) {
  return kernel.mtu > kOneBufferMtu;
}

void add(XskCounters& sum, const XskCounters& more) {
  sum.rx_frames += more.rx_frames;
  sum.rx_bytes += more.rx_bytes;
  sum.rx_linearised += more.rx_linearised;
  sum.tx_frames += more.tx_frames;
  sum.tx_bytes += more.tx_bytes;
  sum.payload_bytes_copied += more.payload_bytes_copied;
  sum.tx_short += more.tx_short;
  sum.tx_down += more.tx_down;
  sum.calls += more.calls;
}

}  // namespace

Result<std::shared_ptr<XdpDevice>> XdpDevice::open(const XdpOptions& options) {
  auto kernel = read_interface(options.interface);
  if (!kernel) return tl::unexpected(std::move(kernel).error());
  ProgramOptions what{kernel->mac, options.addresses, options.tcp, options.udp, options.exclusive};
  if (what.addresses.empty()) {
    for (const auto& address : kernel->addresses)
      what.addresses.push_back(address.address);
  }
  if (!options.exclusive && what.addresses.empty()) {
    return fail("interface " + options.interface +
                    " has no address: give it one (ip address add ADDR/PREFIX dev " +
                    options.interface + ")",
                ErrorKind::io);
  }
  auto program = XdpProgram::load(what, kernel->rx_queues, needs_multi_buffer(*kernel));
  if (!program) return tl::unexpected(std::move(program).error());
  const AttachMode mode = options.driver_mode ? AttachMode::best : AttachMode::generic;
  if (auto done = program->attach(kernel->index, kernel->name, mode); !done)
    return tl::unexpected(done.error());
  return std::shared_ptr<XdpDevice>(
      new XdpDevice(std::move(*kernel), options, std::move(*program)));
}

bool XdpDevice::multi_buffer() const {
  return needs_multi_buffer(kernel_);
}

std::vector<std::string> XdpDevice::notes() const {
  std::vector<std::string> notes;
  if (!program_.driver_trouble().empty()) {
    notes.push_back("the driver takes no XDP program (" + program_.driver_trouble() +
                    "): generic mode, slower");
  }
  if (!program_.in_driver()) {
    notes.push_back(
        "generic mode: switch merging off, or merged segments are dropped: ethtool -K " +
        kernel_.name + " gro off lro off");
  }
  if (kernel_.driver == "veth") {
    notes.push_back(
        "veth: its other end must sum and cut what it sends, or it is dropped: there, ethtool -K "
        "NAME tx off tso off gso off");
  }
  return notes;
}

Result<std::unique_ptr<XdpPort>> XdpPort::create(std::shared_ptr<XdpDevice> device,
                                                 std::span<const std::uint32_t> queues) {
  ASSERT(!queues.empty());
  std::unique_ptr<XdpPort> port(new XdpPort(std::move(device)));
  if (!port->device_->options_.exclusive) {
    auto copies = KernelCopies::open(port->device_->kernel_.index);
    if (!copies) return tl::unexpected(std::move(copies).error());
    port->copies_.emplace(std::move(*copies));
  }
  if (auto done = port->open_queues(queues); !done) return tl::unexpected(done.error());
  if (auto done = port->watch(); !done) return tl::unexpected(done.error());
  return port;
}

Result<std::unique_ptr<XdpPort>> XdpPort::create(const XdpOptions& options) {
  auto device = XdpDevice::open(options);
  if (!device) return tl::unexpected(std::move(device).error());
  std::vector<std::uint32_t> queues((*device)->kernel().rx_queues);
  std::iota(queues.begin(), queues.end(), 0u);
  return create(std::move(*device), queues);
}

XdpPort::XdpPort(std::shared_ptr<XdpDevice> device) : device_(std::move(device)) {
  info_.mac = device_->kernel_.mac;
  info_.mtu = device_->kernel_.mtu;
}

Result<void> XdpPort::open_queues(std::span<const std::uint32_t> queues) {
  const KernelInterface& kernel = device_->kernel_;
  const XdpOptions& options = device_->options_;
  for (const std::uint32_t queue : queues) {
    auto socket =
        XskSocket::create({.interface = kernel.name,
                           .interface_index = kernel.index,
                           .queue = queue,
                           .chunk_size = chunk_size(kernel.mtu),
                           .rx_chunks = options.rx_chunks,
                           .tx_chunks = options.tx_chunks,
                           .multi_buffer = device_->multi_buffer(),
                           .zero_copy = options.zero_copy && device_->program_.in_driver()});
    if (!socket) return tl::unexpected(std::move(socket).error());
    if (auto done = device_->program_.set_socket(queue, (*socket)->fd()); !done)
      return tl::unexpected(done.error());
    sockets_.push_back(std::move(*socket));
  }
  return {};
}

Result<void> XdpPort::watch() {
  wait_ = host::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!wait_.valid()) return host::os_error("epoll", errno);
  std::vector<int> fds;
  for (const auto& socket : sockets_)
    fds.push_back(socket->fd());
  if (copies_) fds.push_back(copies_->fd());
  for (const int fd : fds) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(wait_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      return host::os_error("epoll", errno);
  }
  return {};
}

std::size_t XdpPort::rx_burst(std::span<net::RxFrame> out) {
  std::size_t count = 0;
  more_received_ = false;
  if (copies_) {
    copies_->take_back();
    count += copies_->receive(out);
  }
  for (std::size_t i = 0; i < sockets_.size(); ++i) {
    XskSocket& socket = *sockets_[(first_ + i) % sockets_.size()];
    socket.take_back();
    count += socket.receive(out.subspan(count));
    socket.kick();
    more_received_ |= socket.more_received() || socket.unsent();
  }
  if (++first_ >= sockets_.size()) first_ = 0;
  if (count != 0) {
    empty_bursts_ = 0;
  } else if (++empty_bursts_ == kEmptyBurstsMax) {
    look_for_end();
  }
  return count;
}

std::size_t XdpPort::tx_burst(std::span<const net::TxFrame> frames) {
  // One queue for all: frames of a connection stay in order.
  return sockets_.front()->send(frames);
}

void XdpPort::look_for_end() {
  empty_bursts_ = 0;
  for (const auto& socket : sockets_)
    socket->look_for_end();
  if (copies_) copies_->quiet();
}

bool XdpPort::gone() const {
  return std::ranges::any_of(sockets_, [](const auto& socket) { return socket->gone(); });
}

XskCounters XdpPort::counters() const {
  XskCounters sum;
  for (const auto& socket : sockets_)
    add(sum, socket->counters());
  return sum;
}

xdp_statistics XdpPort::kernel_counters() const {
  xdp_statistics sum{};
  for (const auto& socket : sockets_) {
    const xdp_statistics one = socket->kernel_counters();
    sum.rx_dropped += one.rx_dropped;
    sum.rx_invalid_descs += one.rx_invalid_descs;
    sum.tx_invalid_descs += one.tx_invalid_descs;
    sum.rx_ring_full += one.rx_ring_full;
    sum.rx_fill_ring_empty_descs += one.rx_fill_ring_empty_descs;
    sum.tx_ring_empty_descs += one.tx_ring_empty_descs;
  }
  return sum;
}

}  // namespace penstock::nic_xdp
