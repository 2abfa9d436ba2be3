#include <poll.h>

#include "nic_tap/tap_port.hh"
#include "nic_world.hh"
#include "nic_xdp/xdp_port.hh"
#include "support/own_network.hh"
#include "tap_far_end.hh"

namespace penstock::conformance {
namespace {

// A port of ours, and a packet socket on the interface at its other end.
template <class Port>
class FarEndWorld : public NicWorld {
 public:
  net::NicPort& port() override { return *port_; }
  bool put(std::span<const std::byte> frame) override { return far_->put(frame); }
  void get(std::vector<Bytes>& out) override { far_->get(out); }
  void step() override {
    pollfd entry{port_->fd(), POLLIN, 0};
    ::poll(&entry, 1, 1);
  }

 protected:
  bool open_far_end(const std::string& interface, std::string& why_not) {
    auto far = TapFarEnd::open(interface);
    if (!far) {
      why_not = far.error().message;
      return false;
    }
    far_ = std::move(*far);
    return true;
  }

  std::unique_ptr<Port> port_;

 private:
  std::unique_ptr<TapFarEnd> far_;
};

class TapWorld final : public FarEndWorld<nic_tap::TapPort> {
 public:
  static std::unique_ptr<NicWorld> make(bool offload, std::string& why_not) {
    why_not = support::enter_own_network();
    if (!why_not.empty()) return nullptr;
    auto world = std::make_unique<TapWorld>();
    // One that stays, as an ordinary user has it. The kernel itself keeps quiet on it.
    const std::string name = "conform0";
    if (!support::ip("tuntap add dev " + name + " mode tap") ||
        !support::ip("link set dev " + name + " arp off addrgenmode none multicast off")) {
      why_not = "no TAP interface can be made here";
      return nullptr;
    }
    auto port = nic_tap::TapPort::create({.interface = name, .offload = offload, .mac = {}});
    if (!port || !support::ip("link set dev " + name + " up")) {
      why_not = port ? "the interface can't be brought up" : port.error().message;
      return nullptr;
    }
    world->port_ = std::move(*port);
    if (!world->open_far_end(world->port_->interface(), why_not)) return nullptr;
    return world;
  }

  ~TapWorld() override {
    port_.reset();
    support::ip("tuntap delete dev conform0 mode tap");
  }
};

// One end of a veth pair, all of its frames; the kernel keeps quiet on both.
class XdpWorld final : public FarEndWorld<nic_xdp::XdpPort> {
 public:
  struct Options {
    bool driver_mode = true;
    int mtu = 1500;
  };

  static std::unique_ptr<NicWorld> make(const Options& options, std::string& why_not) {
    why_not = support::enter_own_network();
    if (!why_not.empty()) return nullptr;
    auto world = std::make_unique<XdpWorld>();
    if (!support::ip("link add conform1 type veth peer name conform2")) {
      why_not = "no veth pair can be made here";
      return nullptr;
    }
    for (const char* const end : {"conform1", "conform2"}) {
      if (!support::ip(std::string("link set dev ") + end + " mtu " + std::to_string(options.mtu) +
                       " arp off addrgenmode none multicast off up")) {
        why_not = "the interface can't be brought up";
        return nullptr;
      }
    }
    auto port = nic_xdp::XdpPort::create({.interface = "conform1",
                                          .addresses = {},
                                          .tcp = {},
                                          .udp = {},
                                          .exclusive = true,
                                          .driver_mode = options.driver_mode});
    if (!port) {
      why_not = port.error().message;
      return nullptr;
    }
    world->port_ = std::move(*port);
    if (!world->open_far_end("conform2", why_not)) return nullptr;
    return world;
  }

  ~XdpWorld() override {
    port_.reset();
    support::ip("link delete conform1");
  }
};

NicFlavour xdp(const std::string& name, const XdpWorld::Options& options) {
  return {name, [options](std::string& why_not) { return XdpWorld::make(options, why_not); }};
}

}  // namespace

const std::vector<NicFlavour>& nic_flavours() {
  static const std::vector<NicFlavour> flavours{
      {"tap", [](std::string& why_not) { return TapWorld::make(true, why_not); }},
      {"tap_no_offload", [](std::string& why_not) { return TapWorld::make(false, why_not); }},
      xdp("xdp", {}),
      xdp("xdp_generic", {.driver_mode = false}),
      xdp("xdp_jumbo", {.mtu = 9000}),  // several buffers a frame
  };
  return flavours;
}

}  // namespace penstock::conformance
