#include "nic_dpdk/dpdk_port.hh"

#include <algorithm>
#include <cstring>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "base/assert.hh"
#include "nic_dpdk/part_info.hh"
#include "nic_dpdk/tx_offload.hh"

namespace penstock::nic_dpdk {
namespace {

net::RxChecksum checksum_of(const rte_mbuf& frame) {
  switch (frame.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) {
    case RTE_MBUF_F_RX_L4_CKSUM_GOOD:
    case RTE_MBUF_F_RX_L4_CKSUM_NONE:  // not filled in, but it never was on a wire
      return net::RxChecksum::good;
    case RTE_MBUF_F_RX_L4_CKSUM_BAD:
      return net::RxChecksum::bad;
    default:
      return net::RxChecksum::unknown;
  }
}

}  // namespace

std::size_t DpdkPort::rx_burst(std::span<net::RxFrame> out) {
  free_received(next_);
  gathered_ = 0;
  more_received_ = false;
  if (!running_) return 0;
  if (sent_ < built_) {
    hand_over();
  } else if (parts_in_use_ != 0) {
    // Some devices only let go of what was sent when they are asked to send.
    rte_eth_tx_burst(port_, 0, sending_.data(), 0);
  }
  if (first_ == held_) {
    const auto wanted = static_cast<std::uint16_t>(std::min(out.size(), received_.size()));
    first_ = next_ = 0;
    held_ = rte_eth_rx_burst(port_, 0, received_.data(), wanted);
    more_received_ = held_ == wanted && wanted != 0;
  }
  std::size_t count = 0;
  for (; next_ < held_ && count < out.size(); ++next_) {
    const rte_mbuf& frame = *received_[next_];
    net::RxFrame& to = out[count];
    if (frame.nb_segs == 1) {
      to.bytes = {rte_pktmbuf_mtod(&frame, const std::byte*), frame.data_len};
    } else if (frame.pkt_len > kGatherMax) {
      ++counters_.rx_too_large;
      continue;
    } else if (!gather(frame, to)) {
      break;  // the next burst has room
    }
    to.checksum = checksum_of(frame);
    to.segment_size = (frame.ol_flags & RTE_MBUF_F_RX_LRO) != 0 ? frame.tso_segsz : 0;
    counters_.rx_bytes += to.bytes.size();
    ++count;
  }
  more_received_ |= next_ < held_;
  counters_.rx_frames += count;
  return count;
}

// Those of the last device's burst up to `end` that still are ours.
void DpdkPort::free_received(std::size_t end) {
  if (first_ < end) {
    rte_pktmbuf_free_bulk(received_.data() + first_, static_cast<unsigned>(end - first_));
  }
  first_ = end;
}

bool DpdkPort::gather(const rte_mbuf& frame, net::RxFrame& out) {
  if (frame.pkt_len > kGatherMax - gathered_) return false;
  std::byte* const begin = memory_.get() + gathered_;
  std::byte* end = begin;
  for (const rte_mbuf* segment = &frame; segment != nullptr; segment = segment->next) {
    std::memcpy(end, rte_pktmbuf_mtod(segment, const std::byte*), segment->data_len);
    end += segment->data_len;
  }
  out.bytes = {begin, end};
  gathered_ += out.bytes.size();
  ++counters_.rx_gathered;
  return true;
}

std::size_t DpdkPort::tx_burst(std::span<const net::TxFrame> frames) {
  if (!running_) return frames.size();
  std::size_t done = 0;
  for (;;) {
    hand_over();
    if (sent_ < built_) {
      counters_.tx_short += done < frames.size();
      return done;
    }
    if (done == frames.size()) return done;
    sent_ = prepared_ = built_ = 0;
    Built last = Built::whole;
    for (; built_ < sending_.size() && done < frames.size(); ++built_, ++done) {
      last = build(frames[done], sending_[built_]);
      if (last != Built::whole) break;
      count_taken(frames[done]);
    }
    if (last == Built::unfit) {
      ++counters_.tx_refused;
      ++done;
    } else if (last == Built::no_mbuf && built_ == 0) {
      ++counters_.tx_no_mbuf;
      return done;
    }
  }
}

// Gives the device what it takes of those that are built. The rest waits for the next time: to
// build a burst anew whenever the device has room for three frames would cost more than all else.
void DpdkPort::hand_over() {
  while (sent_ < built_) {
    if (prepares_ && prepared_ < built_) {
      prepared_ += rte_eth_tx_prepare(port_, 0, sending_.data() + prepared_,
                                      static_cast<std::uint16_t>(built_ - prepared_));
    } else {
      prepared_ = built_;
    }
    if (sent_ == prepared_) {  // it will never take this one
      ++counters_.tx_refused;
      rte_pktmbuf_free(sending_[sent_++]);
      prepared_ = sent_;
      continue;
    }
    const auto most =
        static_cast<std::uint16_t>(std::min<std::size_t>(prepared_ - sent_, burst_max_));
    const std::uint16_t taken = rte_eth_tx_burst(port_, 0, sending_.data() + sent_, most);
    sent_ += taken;
    if (taken < most) return;
  }
}

void DpdkPort::count_taken(const net::TxFrame& frame) {
  ++counters_.tx_frames;
  counters_.tx_bytes += frame.length();
  for (std::size_t i = 0; i < frame.part_count; ++i) {
    const net::PayloadPart& part = frame.parts[i];
    (by_reference(part) ? counters_.payload_bytes_zero_copy : counters_.payload_bytes_copied) +=
        part.length;
  }
}

rte_mbuf* DpdkPort::take(Stock& stock) {
  if (stock.next == stock.count && !refill(stock)) return nullptr;
  rte_mbuf* const mbuf = stock.items[stock.next++];
  rte_pktmbuf_reset(mbuf);
  return mbuf;
}

// All of them, or the last ones singly.
bool DpdkPort::refill(Stock& stock) {
  stock.next = stock.count = 0;
  auto** const items = reinterpret_cast<void**>(stock.items.data());
  if (rte_mempool_get_bulk(stock.pool, items, kStock) == 0) {
    stock.count = kStock;
  } else if (rte_mempool_get(stock.pool, items) == 0) {
    stock.count = 1;
  } else {
    return false;
  }
  for (rte_mbuf* const mbuf : std::span(stock.items).first(stock.count)) {
    const auto* const begin = reinterpret_cast<const std::byte*>(mbuf);
    __builtin_prefetch(begin, 1);
    __builtin_prefetch(begin + RTE_CACHE_LINE_SIZE, 1);
    __builtin_prefetch(begin + stock.used_from, 1);
  }
  return true;
}

DpdkPort::Built DpdkPort::build(const net::TxFrame& frame, rte_mbuf*& out) {
  DCHECK(frame.head_length >= 14 && frame.head_length <= net::kHeadMax);
  DCHECK(frame.part_count <= net::kPayloadPartsMax);
  const std::size_t length = frame.length();
  const bool cut = frame.segment_size != 0;
  if (cut ? info_.tso_bytes_max == 0 : length > frame_max_) return Built::unfit;
  rte_mbuf* const head = take(heads_);
  if (head == nullptr) return Built::no_mbuf;
  std::byte* const bytes = rte_pktmbuf_mtod(head, std::byte*);
  std::memcpy(bytes, frame.head.data(), frame.head_length);
  head->data_len = frame.head_length;
  head->pkt_len = static_cast<std::uint32_t>(length);
  if (frame.transport_at != 0) describe_offload(frame, *head);
  if (copies_) {
    std::byte* end = bytes + frame.head_length;
    for (std::size_t i = 0; i < frame.part_count; ++i) {
      std::memcpy(end, frame.parts[i].data, frame.parts[i].length);
      end += frame.parts[i].length;
    }
    head->data_len = static_cast<std::uint16_t>(length);
    out = head;
    return Built::whole;
  }
  rte_mbuf* tail = head;
  for (std::size_t i = 0; i < frame.part_count; ++i) {
    const net::PayloadPart& part = frame.parts[i];
    if (!(by_reference(part) ? attach(part, *head, tail) : copy_in(part, *head, tail))) {
      rte_pktmbuf_free(head);
      return Built::no_mbuf;
    }
  }
  out = head;
  return Built::whole;
}

bool DpdkPort::by_reference(const net::PayloadPart& part) const {
  if (copies_) return false;
  if (!content_only_) return true;
  const std::byte* const begin = content_.data();
  return part.data >= begin && part.data < begin + content_.size();
}

// Behind what the last mbuf has, if that is our own memory, and into as many more as it takes.
bool DpdkPort::copy_in(const net::PayloadPart& part, rte_mbuf& head, rte_mbuf*& tail) {
  for (std::uint32_t at = 0; at < part.length;) {
    if (RTE_MBUF_HAS_EXTBUF(tail) || rte_pktmbuf_tailroom(tail) == 0) {
      rte_mbuf* const segment = take(heads_);
      if (segment == nullptr) return false;
      tail->next = segment;
      tail = segment;
      ++head.nb_segs;
    }
    const std::uint32_t size =
        std::min<std::uint32_t>(part.length - at, rte_pktmbuf_tailroom(tail));
    std::memcpy(rte_pktmbuf_mtod_offset(tail, std::byte*, tail->data_len), part.data + at, size);
    tail->data_len = static_cast<std::uint16_t>(tail->data_len + size);
    at += size;
  }
  return true;
}

bool DpdkPort::attach(const net::PayloadPart& part, rte_mbuf& head, rte_mbuf*& tail) {
  rte_mbuf* const segment = take(parts_);
  if (segment == nullptr) return false;
  DCHECK(part.length <= UINT16_MAX);
  const auto length = static_cast<std::uint16_t>(part.length);
  auto* const info = static_cast<PartInfo*>(rte_mbuf_to_priv(segment));
  // Who gives no counter doesn't ask: its bytes stay.
  info->in_use = part.in_use != nullptr ? part.in_use : &nobodys_;
  info->port = this;
  info->shared.free_cb = &DpdkPort::let_go;
  info->shared.fcb_opaque = info;
  rte_mbuf_ext_refcnt_set(&info->shared, 1);
  auto* const data = const_cast<std::byte*>(part.data);
  // Of what isn't mapped for a device, no device asks.
  rte_pktmbuf_attach_extbuf(segment, data, reinterpret_cast<rte_iova_t>(data), length,
                            &info->shared);
  segment->data_off = 0;
  segment->data_len = length;
  ++*info->in_use;
  ++parts_in_use_;
  tail->next = segment;
  tail = segment;
  ++head.nb_segs;
  return true;
}

void DpdkPort::let_go(void*, void* opaque) {
  const auto* const info = static_cast<const PartInfo*>(opaque);
  --*info->in_use;
  --info->port->parts_in_use_;
}

}  // namespace penstock::nic_dpdk
