// A DpdkPort's beginning and end: from a device's name to a port that runs, step by step, each with
// its own error message; and back.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_memory.h>

#include "base/arena.hh"
#include "nic_dpdk/dpdk_device.hh"
#include "nic_dpdk/dpdk_port.hh"
#include "nic_dpdk/part_info.hh"

namespace penstock::nic_dpdk {
namespace {

// What one thread keeps at hand of a pool, mbufs.
constexpr unsigned kPoolCache = 256;
// Beside what rings hold: a burst that is being built, one that was received, and the cache.
constexpr unsigned kPoolExtra = 1024;

rte_mempool* make_pool(const char* use, std::uint16_t port, unsigned count,
                       std::size_t private_size, std::uint16_t room, int socket) {
  const std::string name = std::string("penstock_") + use + "_" + std::to_string(port);
  return rte_pktmbuf_pool_create(name.c_str(), count, kPoolCache,
                                 static_cast<std::uint16_t>(private_size), room, socket);
}

wire::MacAddress to_mac(const rte_ether_addr& address) {
  wire::MacAddress mac;
  std::memcpy(mac.bytes.data(), address.addr_bytes, mac.bytes.size());
  return mac;
}

}  // namespace

// What the steps hand on.
struct DpdkPort::Setup {
  std::string where;
  rte_eth_dev_info info{};
  Choice choice;
  int socket = 0;
};

Result<std::unique_ptr<DpdkPort>> DpdkPort::create(Eal& eal, const DpdkOptions& options) {
  std::unique_ptr<DpdkPort> port(new DpdkPort(eal));
  if (auto ready = port->set_up(options); !ready) return tl::unexpected(std::move(ready).error());
  return port;
}

DpdkPort::~DpdkPort() {
  stop();
}

Result<void> DpdkPort::set_up(const DpdkOptions& options) {
  device_ = options.device;
  auto opened = eal_.open(device_);
  if (!opened) return tl::unexpected(std::move(opened).error());
  port_ = *opened;
  opened_ = true;
  const SignalGuard guard;  // drivers open the rest of what they need in the steps below
  Setup setup;
  setup.where = "DPDK device " + device_.devargs();
  if (const int got = rte_eth_dev_info_get(port_, &setup.info); got != 0) {
    return dpdk_error(setup.where, "doesn't say what it can", got);
  }
  driver_ = setup.info.driver_name == nullptr ? "" : setup.info.driver_name;
  setup.socket = rte_eth_dev_socket_id(port_);
  const DriverFacts facts = facts_of(driver_, device_.arguments);
  Wishes wishes;
  wishes.mtu = options.mtu;
  if (options.mtu == 0 && rte_eth_dev_get_mtu(port_, &wishes.mtu) != 0) wishes.mtu = 1500;
  wishes.offload = options.offload;
  wishes.by_reference = options.by_reference;
  wishes.iova_virtual = Eal::iova_is_virtual();
  wishes.arguments = device_.arguments;
  wishes.arena_shared = options.content_shared;
  wishes.arena_mapped =
      facts.reach == Reach::dma && wishes.iova_virtual && map_content(setup, options.content);
  auto choice = choose(setup.info, wishes);
  if (!choice) return tl::unexpected(std::move(choice).error().context(setup.where));
  setup.choice = *choice;
  copies_ = choice->copies != CopyReason::none;
  content_only_ = facts.reach != Reach::process || options.content_only;
  content_ = options.content;
  copy_reason_ =
      copy_reason_name(!copies_ && content_only_ ? CopyReason::outside_arena : choice->copies);
  prepares_ = choice->tx_checksum;
  burst_max_ = facts.burst_max;
  interrupts_stop_ = facts.interrupts_stop;
  frame_max_ = std::uint32_t{choice->mtu} + wire::kEthernetSize + wire::kVlanTagSize;
  info_.mtu = choice->mtu;
  info_.tx_checksum = choice->tx_checksum;
  info_.tso_bytes_max = choice->tso_bytes_max;
  if (auto made = make_pools(setup); !made) return made;
  if (auto started = start_device(setup); !started) return started;

  rte_ether_addr address{};
  if (const int got = rte_eth_macaddr_get(port_, &address); got != 0) {
    return dpdk_error(setup.where, "doesn't say its MAC address", got);
  }
  // A ring has none.
  if (rte_is_zero_ether_addr(&address) != 0) rte_eth_random_addr(address.addr_bytes);
  info_.mac = facts.kernels_mac ? to_mac(address).beside() : to_mac(address);
  if (!options.mac.is_zero()) info_.mac = options.mac;
  memory_ = std::make_unique<std::byte[]>(kGatherMax);
  return {};
}

Result<void> DpdkPort::make_pools(const Setup& setup) {
  const Choice& choice = setup.choice;
  rx_pool_ =
      make_pool("rx", port_, choice.rx_descriptors + kPoolExtra, 0, choice.rx_room, setup.socket);
  heads_.pool =
      make_pool("head", port_, choice.tx_descriptors + kPoolExtra, 0, choice.tx_room, setup.socket);
  if (!copies_) {
    parts_.pool = make_pool("part", port_, 2 * choice.tx_descriptors + kPoolExtra, sizeof(PartInfo),
                            0, setup.socket);
  }
  heads_.used_from = sizeof(rte_mbuf) + RTE_PKTMBUF_HEADROOM;
  parts_.used_from = sizeof(rte_mbuf);  // PartInfo
  if (rx_pool_ == nullptr || heads_.pool == nullptr || (!copies_ && parts_.pool == nullptr)) {
    return dpdk_error(setup.where, "has no memory for its frames", rte_errno,
                      eal_.hugepages()
                          ? "more hugepages are needed (sysctl vm.nr_hugepages), or none "
                            "(PENSTOCK_DISABLE=hugepages)"
                          : "");
  }
  return {};
}

Result<void> DpdkPort::start_device(const Setup& setup) {
  const Choice& choice = setup.choice;
  rte_eth_conf conf{};
  conf.rxmode.mtu = choice.mtu;
  conf.rxmode.offloads = choice.rx_offloads;
  conf.txmode.offloads = choice.tx_offloads;
  if (const int done = rte_eth_dev_configure(port_, 1, 1, &conf); done != 0) {
    return dpdk_error(setup.where, "can't be set up with one queue each way", done);
  }
  const auto socket = static_cast<unsigned>(setup.socket);
  rte_eth_rxconf receive = setup.info.default_rxconf;
  receive.offloads = choice.rx_offloads;
  if (const int done =
          rte_eth_rx_queue_setup(port_, 0, choice.rx_descriptors, socket, &receive, rx_pool_);
      done != 0) {
    return dpdk_error(setup.where, "gives no queue to receive by", done);
  }
  rte_eth_txconf send = setup.info.default_txconf;
  send.offloads = choice.tx_offloads;
  if (const int done = rte_eth_tx_queue_setup(port_, 0, choice.tx_descriptors, socket, &send);
      done != 0) {
    return dpdk_error(setup.where, "gives no queue to send by", done);
  }
  if (const int done = rte_eth_dev_start(port_); done != 0) {
    return dpdk_error(setup.where, "can't be started", done);
  }
  running_ = true;
  // For neighbour solicitations (RFC 4291 §2.7.1). Who can't filter can't say that it doesn't.
  static_cast<void>(rte_eth_allmulticast_enable(port_));
  return {};
}

// Makes the memory of payload known to a device that reads it by DMA.
bool DpdkPort::map_content(const Setup& setup, std::span<std::byte> content) {
  if (content.empty() || content.size() % kSlabSize != 0) return false;
  if (rte_extmem_register(content.data(), content.size(), nullptr, 0, kSlabSize) != 0) return false;
  const auto address = reinterpret_cast<std::uint64_t>(content.data());
  if (rte_dev_dma_map(setup.info.device, content.data(), address, content.size()) != 0) {
    rte_extmem_unregister(content.data(), content.size());
    return false;
  }
  mapped_ = content;
  return true;
}

void DpdkPort::unmap_content() {
  if (mapped_.empty()) return;
  rte_eth_dev_info info{};
  if (rte_eth_dev_info_get(port_, &info) == 0) {
    const auto address = reinterpret_cast<std::uint64_t>(mapped_.data());
    rte_dev_dma_unmap(info.device, mapped_.data(), address, mapped_.size());
  }
  rte_extmem_unregister(mapped_.data(), mapped_.size());
  mapped_ = {};
}

void DpdkPort::stop() {
  if (!opened_) return;
  opened_ = false;
  const SignalGuard guard;
  next_ = held_;
  free_received(next_);
  rte_pktmbuf_free_bulk(sending_.data() + sent_, static_cast<unsigned>(built_ - sent_));
  sent_ = prepared_ = built_ = 0;
  const auto stop_device = [this] {
    if (running_) rte_eth_dev_stop(port_);
  };
  const auto close_device = [this] {
    unmap_content();
    rte_eth_dev_close(port_);
  };
  // In two steps: a link's end that was noticed together with the first one is told to the device
  // between them.
  if (!interrupts_stop_ || !Eal::run_between_interrupts(stop_device)) stop_device();
  if (!interrupts_stop_ || !Eal::run_between_interrupts(close_device)) close_device();
  if (interrupts_stop_) eal_.keep();  // its socket's handle, in memory that would be unmapped
  running_ = false;
  eal_.forget(device_);
  rte_mempool_free(parts_.pool);
  rte_mempool_free(heads_.pool);
  rte_mempool_free(rx_pool_);
  heads_ = parts_ = {};
  rx_pool_ = nullptr;
}

bool DpdkPort::link_up() const {
  rte_eth_link link{};
  if (!running_ || rte_eth_link_get_nowait(port_, &link) != 0) return false;
  return link.link_status == RTE_ETH_LINK_UP;
}

std::vector<DpdkPort::Statistic> DpdkPort::statistics() const {
  std::vector<Statistic> out;
  if (!running_) return out;
  const int count = rte_eth_xstats_get_names(port_, nullptr, 0);
  if (count <= 0) return out;
  const auto size = static_cast<unsigned>(count);
  std::vector<rte_eth_xstat_name> names(size);
  std::vector<rte_eth_xstat> values(size);
  if (rte_eth_xstats_get_names(port_, names.data(), size) != count ||
      rte_eth_xstats_get(port_, values.data(), size) != count) {
    return out;
  }
  for (const rte_eth_xstat& value : values)
    out.push_back({names[value.id].name, value.value});
  return out;
}

}  // namespace penstock::nic_dpdk
