#include "dpdk_rig.hh"

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "host/cpu.hh"
#include "support/own_network.hh"

namespace penstock::conformance {
namespace {

rte_mempool* frames() {
  static rte_mempool* const pool =
      rte_pktmbuf_pool_create("test_frames", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  return pool;
}

constexpr std::uint64_t kContentSize = 4u << 20;

}  // namespace

std::size_t affinity_before_eal() {
  static const std::size_t count = host::usable_cpus().size();
  return count;
}

nic_dpdk::Eal& test_eal() {
  static const std::unique_ptr<nic_dpdk::Eal> eal = [] {
    affinity_before_eal();
    support::enter_own_network();  // while there is one thread
    auto started =
        nic_dpdk::Eal::start({.devices = {}, .hugepages = false, .content = kContentSize});
    if (!started) {
      std::cerr << started.error().message << '\n';
      std::abort();
    }
    return std::move(*started);
  }();
  return *eal;
}

std::unique_ptr<nic_dpdk::DpdkPort> open_port(const std::string& device, std::string& why_not,
                                              bool by_reference, bool offload) {
  nic_dpdk::DpdkOptions options;
  options.device = *nic_dpdk::parse_device(device);
  options.by_reference = by_reference;
  options.offload = offload;
  auto port = nic_dpdk::DpdkPort::create(test_eal(), options);
  if (port) return std::move(*port);
  why_not = port.error().message;
  return nullptr;
}

std::span<std::byte> shared_content() {
  static const std::span<std::byte> content = [] {
    auto reserved = test_eal().reserve(kContentSize);
    if (!reserved) {
      std::cerr << reserved.error().message << '\n';
      std::abort();
    }
    return *reserved;
  }();
  return content;
}

std::string fresh_ring() {
  static int count = 0;
  return "net_ring" + std::to_string(count++);
}

RingEnd::RingEnd(const std::string& device)
    : ring_(rte_ring_lookup(("ETH_RXTX0_" + device).c_str())) {}

bool RingEnd::put(std::span<const std::byte> frame) {
  return put_in_pieces(frame, frame.size());
}

bool RingEnd::put_in_pieces(std::span<const std::byte> frame, std::size_t piece) {
  rte_mbuf* head = nullptr;
  for (std::size_t at = 0; at < frame.size(); at += piece) {
    const auto bytes = frame.subspan(at, std::min(piece, frame.size() - at));
    rte_mbuf* const segment = rte_pktmbuf_alloc(frames());
    char* const to = segment == nullptr
                         ? nullptr
                         : rte_pktmbuf_append(segment, static_cast<std::uint16_t>(bytes.size()));
    if (to == nullptr) {
      rte_pktmbuf_free(segment);
      rte_pktmbuf_free(head);
      return false;
    }
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::byte*>(to));
    if (head == nullptr) {
      head = segment;
    } else {
      rte_pktmbuf_chain(head, segment);
    }
  }
  if (rte_ring_enqueue(ring_, head) == 0) return true;
  rte_pktmbuf_free(head);
  return false;
}

void RingEnd::get(std::vector<support::Bytes>& out) {
  void* taken = nullptr;
  while (rte_ring_dequeue(ring_, &taken) == 0) {
    auto* const frame = static_cast<rte_mbuf*>(taken);
    support::Bytes bytes;
    for (const rte_mbuf* segment = frame; segment != nullptr; segment = segment->next) {
      const auto* const data = rte_pktmbuf_mtod(segment, const std::byte*);
      bytes.insert(bytes.end(), data, data + segment->data_len);
    }
    out.push_back(std::move(bytes));
    rte_pktmbuf_free(frame);
  }
}

std::size_t RingEnd::waiting() const {
  return rte_ring_count(ring_);
}

}  // namespace penstock::conformance
