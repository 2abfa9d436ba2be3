#include <algorithm>
#include <array>

#include <poll.h>
#include <unistd.h>

#include "dpdk_rig.hh"
#include "nic_world.hh"
#include "support/own_network.hh"
#include "tap_far_end.hh"

namespace penstock::conformance {
namespace {

// Both ends in this process: what the port sends stays in the ring, referring to its content, until
// the far end takes it off.
class RingWorld final : public NicWorld {
 public:
  static std::unique_ptr<NicWorld> make(bool by_reference, std::string& why_not) {
    auto world = std::make_unique<RingWorld>();
    const std::string device = fresh_ring();
    world->port_ = open_port(device, why_not, by_reference);
    if (world->port_ == nullptr) return nullptr;
    world->far_ = std::make_unique<RingEnd>(device);
    return world;
  }

  net::NicPort& port() override { return *port_; }
  bool put(std::span<const std::byte> frame) override { return far_->put(frame); }
  void get(std::vector<Bytes>& out) override {
    far_->get(taken_);
    out.insert(out.end(), std::make_move_iterator(taken_.begin()),
               std::make_move_iterator(taken_.end()));
    taken_.clear();
  }
  void step() override { far_->get(taken_); }

 private:
  std::unique_ptr<nic_dpdk::DpdkPort> port_;
  std::unique_ptr<RingEnd> far_;
  std::vector<Bytes> taken_;
};

// Two devices of this process, each the other's far end.
class PairWorld final : public NicWorld {
 public:
  // The far one listens, so it is opened first.
  static std::unique_ptr<NicWorld> make(const std::string& far, const std::string& near,
                                        std::string& why_not) {
    auto world = std::make_unique<PairWorld>();
    // Without offload: frames are whole on this wire.
    world->far_ = open_port(far, why_not, true, false);
    if (world->far_ == nullptr) return nullptr;
    world->port_ = open_port(near, why_not, true, false);
    if (world->port_ == nullptr) return nullptr;
    for (int i = 0; i < 3000; ++i) {
      if (world->far_->link_up() && world->port_->link_up()) return world;
      world->step();
    }
    why_not = far + " and " + near + " don't find each other";
    return nullptr;
  }
  static std::unique_ptr<NicWorld> virtio(std::string& why_not) {
    const std::string path = "/tmp/penstock-" + fresh_name();
    return make("net_vhost0,iface=" + path, "net_virtio_user0,path=" + path, why_not);
  }

  net::NicPort& port() override { return *port_; }
  bool put(std::span<const std::byte> frame) override {
    net::TxFrame out;
    const std::size_t head = std::min<std::size_t>(frame.size(), 64);
    std::copy_n(frame.begin(), head, out.head.begin());
    out.head_length = static_cast<std::uint16_t>(head);
    if (frame.size() > head) {
      out.part_count = 1;
      out.parts[0] = {frame.data() + head, static_cast<std::uint32_t>(frame.size() - head),
                      nullptr};
    }
    return far_->tx_burst({&out, 1}) == 1;  // both kinds copy before it returns
  }
  void get(std::vector<Bytes>& out) override {
    std::array<net::RxFrame, net::kFrameBurst> frames;
    const std::size_t count = far_->rx_burst(frames);
    for (std::size_t i = 0; i < count; ++i)
      out.emplace_back(frames[i].bytes.begin(), frames[i].bytes.end());
  }
  void step() override { ::poll(nullptr, 0, 1); }

 private:
  static std::string fresh_name() {
    static int count = 0;
    return std::to_string(::getpid()) + "-" + std::to_string(count++);
  }

  std::unique_ptr<nic_dpdk::DpdkPort> far_;
  std::unique_ptr<nic_dpdk::DpdkPort> port_;  // ends first
};

// A device whose other end is an interface of the kernel's, where a packet socket watches.
class KernelWorld final : public NicWorld {
 public:
  static std::unique_ptr<NicWorld> tap(std::string& why_not) {
    return make("conform1", "net_tap0,iface=conform1",
                {"tuntap add dev conform1 mode tap multi_queue",
                 "link set dev conform1 arp off addrgenmode none multicast off"},
                "conform1", why_not);
  }
  static std::unique_ptr<NicWorld> packet(std::string& why_not) {
    return make("conform2", "net_af_packet0,iface=conform2",
                {"link add conform2 type veth peer name conform3",
                 "link set dev conform2 arp off addrgenmode none multicast off up",
                 "link set dev conform3 arp off addrgenmode none multicast off up"},
                "conform3", why_not);
  }
  ~KernelWorld() override {
    port_.reset();
    support::ip("link delete dev " + interface_);
  }

  net::NicPort& port() override { return *port_; }
  bool put(std::span<const std::byte> frame) override { return far_->put(frame); }
  void get(std::vector<Bytes>& out) override { far_->get(out); }
  void step() override { ::poll(nullptr, 0, 1); }

 private:
  static std::unique_ptr<NicWorld> make(const std::string& interface, const std::string& device,
                                        const std::vector<std::string>& commands,
                                        const std::string& far, std::string& why_not) {
    test_eal();
    why_not = support::enter_own_network();
    if (!why_not.empty()) return nullptr;
    auto world = std::make_unique<KernelWorld>();
    world->interface_ = interface;
    for (const std::string& command : commands) {
      if (support::ip(command)) continue;
      why_not = "no interface can be made here: ip " + command;
      return nullptr;
    }
    world->port_ = open_port(device, why_not);
    if (world->port_ == nullptr) return nullptr;
    auto end = TapFarEnd::open(far);
    if (!end) {
      why_not = end.error().message;
      return nullptr;
    }
    world->far_ = std::move(*end);
    return world;
  }

  std::string interface_;
  std::unique_ptr<nic_dpdk::DpdkPort> port_;
  std::unique_ptr<TapFarEnd> far_;
};

}  // namespace

const std::vector<NicFlavour>& nic_flavours() {
  static const std::vector<NicFlavour> flavours{
      {"dpdk_ring", [](std::string& why_not) { return RingWorld::make(true, why_not); }},
      {"dpdk_ring_copying", [](std::string& why_not) { return RingWorld::make(false, why_not); }},
      {"dpdk_virtio_user", &PairWorld::virtio},
      {"dpdk_tap", &KernelWorld::tap},
      {"dpdk_af_packet", &KernelWorld::packet}};
  return flavours;
}

}  // namespace penstock::conformance
