#include "support/sim_link.hh"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <xxhash.h>

#include "base/assert.hh"
#include "base/endian.hh"

namespace penstock::support {
namespace {

using wire::TcpFlags;

constexpr std::uint32_t kMillion = 1'000'000;

bool chance(Random& random, std::uint32_t per_million) {
  return per_million != 0 && random.below(kMillion) < per_million;
}

Duration time_of(std::size_t bytes, std::uint64_t rate) {
  return rate == 0 ? Duration{}
                   : Duration::nanoseconds(static_cast<std::int64_t>(bytes * 1'000'000'000 / rate));
}

// Exponential, cut at five means, so that a liveness bound can be told.
Duration draw_time(Random& random, Duration mean) {
  const double u = static_cast<double>(random.below(1 << 20) + 1) / (1 << 20);
  const double factor = std::min(5.0, -std::log(u));
  return Duration::nanoseconds(static_cast<std::int64_t>(static_cast<double>(mean.ns) * factor) +
                               1);
}

struct Later {
  template <typename E>
  bool operator()(const E& a, const E& b) const {
    return a.at != b.at ? a.at > b.at : a.order > b.order;
  }
};

}  // namespace

// --- the device ---

SimNic::SimNic(SimLink& link, int side, const NicOptions& options)
    : link_(link), side_(side), options_(options) {
  info_.mac = options.mac;
  info_.mtu = options.mtu;
  info_.tx_checksum = options.tx_checksum;
  info_.tso_bytes_max = options.tso_bytes_max;
}

std::size_t SimNic::rx_burst(std::span<net::RxFrame> out) {
  lent_.clear();
  std::size_t count = std::min(out.size(), received_.size());
  lent_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (received_.empty()) {
      count = i;
      break;
    }
    lent_.push_back(std::move(received_.front()));
    received_.pop_front();
    Received& frame = lent_.back();
    while (options_.merges && !received_.empty() &&
           merge_segment(frame.bytes, frame.segment_size, received_.front().bytes)) {
      frame.checksum = net::RxChecksum::good;
      received_.pop_front();
    }
    out[i] = net::RxFrame{.bytes = frame.bytes,
                          .checksum = frame.checksum,
                          .segment_size = static_cast<std::uint16_t>(frame.segment_size)};
  }
  return count;
}

// What a frame does against the contract of nic_port.hh; nullptr: nothing.
const char* SimNic::check(const net::TxFrame& frame) const {
  if (frame.head_length > net::kHeadMax) return "a head longer than kHeadMax";
  if (frame.part_count > net::kPayloadPartsMax) return "too many parts";
  if (frame.head_length < kEthernetSize) return "no Ethernet header";
  for (std::size_t i = 0; i < frame.part_count; ++i) {
    if (frame.parts[i].data == nullptr || frame.parts[i].length == 0) return "an empty part";
  }
  if (frame.checksum_at != 0 && !info_.tx_checksum) return "the device can't do checksums";
  if (frame.checksum_at != 0 &&
      std::size_t{frame.transport_at} + frame.checksum_at + 2 > frame.head_length) {
    return "the checksum isn't in the head";
  }
  if (frame.segment_size == 0) {
    if (frame.length() > kEthernetSize + info_.mtu) return "a frame above the MTU";
    return nullptr;
  }
  if (info_.tso_bytes_max == 0) return "the device can't do TSO";
  if (frame.checksum_at == 0) return "TSO without checksum offload";
  if (std::size_t{frame.transport_at} + 20 > frame.head_length) return "no TCP header in the head";
  const std::size_t tcp_header =
      std::to_integer<std::size_t>(frame.head[frame.transport_at + 12u]) / 16 * 4;
  const std::size_t headers = frame.transport_at + tcp_header;
  if (headers > frame.head_length) return "the TCP header isn't in the head";
  if (frame.length() - headers > info_.tso_bytes_max) return "more payload than TSO takes";
  if (headers + frame.segment_size > kEthernetSize + info_.mtu) return "segments above the MTU";
  if (frame.length() - kEthernetSize > 65535) return "a TSO frame above 65,535 bytes";
  return nullptr;
}

std::size_t SimNic::tx_burst(std::span<const net::TxFrame> frames) {
  std::size_t room = options_.tx_ring - std::min<std::size_t>(options_.tx_ring, ring_.size());
  if (chance(link_.paths_[side_].random, options_.short_bursts)) {
    room = std::min<std::size_t>(room, link_.paths_[side_].random.below(frames.size() + 1));
  }
  const std::size_t count = std::min(frames.size(), room);
  for (std::size_t i = 0; i < count; ++i) {
    const net::TxFrame& frame = frames[i];
    if (const char* wrong = check(frame); wrong != nullptr) {
      link_.complain(side_, std::string("tx_burst: ") + wrong);
      continue;
    }
    Held held;
    ring_free_ = std::max(ring_free_, link_.now_) + time_of(frame.length(), options_.line_rate);
    held.leaves = ring_free_;
    held.frame = frame;
    XXH3_state_t* state = XXH3_createState();
    XXH3_64bits_reset(state);
    for (std::size_t p = 0; p < frame.part_count; ++p) {
      const net::PayloadPart& part = frame.parts[p];
      if (options_.holds_payload && part.in_use != nullptr) ++*part.in_use;
      XXH3_64bits_update(state, part.data, part.length);
    }
    held.hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    if (!options_.holds_payload) {
      held.bytes.reserve(frame.length());
      held.bytes.insert(held.bytes.end(), frame.head.begin(),
                        frame.head.begin() + frame.head_length);
      for (std::size_t p = 0; p < frame.part_count; ++p) {
        held.bytes.insert(held.bytes.end(), frame.parts[p].data,
                          frame.parts[p].data + frame.parts[p].length);
      }
    }
    link_.push(held.leaves, SimLink::What::leave, side_, nullptr, true);
    ring_.push_back(std::move(held));
  }
  return count;
}

// --- the link ---

SimLink::SimLink(std::uint64_t seed, const NicOptions& a, const NicOptions& b,
                 const PathOptions& a_to_b, const PathOptions& b_to_a) {
  Random random(seed);
  for (Path& path : paths_)
    path.random = Random(random.next());
  set_path(0, a_to_b);
  set_path(1, b_to_a);
  nics_[0].reset(new SimNic(*this, 0, a));
  nics_[1].reset(new SimNic(*this, 1, b));
}

SimLink::~SimLink() = default;

void SimLink::stop(int side) {
  SimNic& nic = *nics_[side];
  for (const SimNic::Held& held : nic.ring_) {
    for (std::size_t p = 0; nic.options_.holds_payload && p < held.frame.part_count; ++p) {
      if (held.frame.parts[p].in_use != nullptr) --*held.frame.parts[p].in_use;
    }
  }
  nic.ring_.clear();
}

void SimLink::set_path(int from, const PathOptions& options) {
  Path& path = paths_[from];
  path.options = options;
  path.bad = false;
  path.turns = options.bad_mean.ns == 0 ? Instant::never()
                                        : now_ + draw_time(path.random, options.good_mean);
}

void SimLink::complain(int side, const std::string& text) {
  if (!complaint_.empty()) return;
  complaint_ = std::string("device ") + (side == 0 ? "A" : "B") + ": " + text;
}

void SimLink::push(Instant at, What what, int side, std::unique_ptr<Bytes> frame, bool intact,
                   std::uint64_t flow) {
  events_.push_back({at, ++order_, what, side, std::move(frame), intact, flow});
  std::push_heap(events_.begin(), events_.end(), Later{});
}

Instant SimLink::next_event() const {
  return events_.empty() ? Instant::never() : events_.front().at;
}

void SimLink::advance_to(Instant now) {
  ASSERT(now >= now_);
  while (!events_.empty() && events_.front().at <= now) {
    std::pop_heap(events_.begin(), events_.end(), Later{});
    Event event = std::move(events_.back());
    events_.pop_back();
    now_ = std::max(now_, event.at);
    switch (event.what) {
      case What::leave:
        leave(event.side);
        break;
      case What::arrive:
        arrive(event.side, std::move(*event.frame), event.intact);
        break;
      case What::thin: {
        const auto it = paths_[event.side].waiting.find(event.flow);
        if (it != paths_[event.side].waiting.end() && it->second.order == event.order) {
          release_waiting(event.side, event.flow);
        }
        break;
      }
    }
  }
  now_ = now;
}

void SimLink::leave(int side) {
  SimNic& nic = *nics_[side];
  SimNic::Held held = std::move(nic.ring_.front());
  nic.ring_.pop_front();
  const net::TxFrame& frame = held.frame;
  Bytes bytes = std::move(held.bytes);
  if (nic.options_.holds_payload) {
    bytes.assign(frame.head.begin(), frame.head.begin() + frame.head_length);
    XXH3_state_t* state = XXH3_createState();
    XXH3_64bits_reset(state);
    for (std::size_t p = 0; p < frame.part_count; ++p) {
      const net::PayloadPart& part = frame.parts[p];
      XXH3_64bits_update(state, part.data, part.length);
      bytes.insert(bytes.end(), part.data, part.data + part.length);
      if (part.in_use == nullptr) continue;
      if (*part.in_use == 0) complain(side, "in_use fell to 0 while the device held the bytes");
      --*part.in_use;
    }
    if (XXH3_64bits_digest(state) != held.hash) {
      complain(side, "payload changed while the device held it");
    }
    XXH3_freeState(state);
  }
  if (frame.segment_size != 0) {
    for (Bytes& segment : cut_segments(bytes, frame.transport_at, frame.segment_size))
      send(side, std::move(segment));
    return;
  }
  if (frame.checksum_at != 0) fill_checksum(bytes, frame.transport_at, frame.checksum_at);
  send(side, std::move(bytes));
}

// --- the path ---

// False: it isn't forwarded.
bool SimLink::route(int from, Bytes& frame) {
  Bytes answer;
  if (answer_neighbour(frame, router_.addresses[from], router_.macs[from], answer)) {
    push(now_ + Duration::microseconds(100), What::arrive, from,
         std::make_unique<Bytes>(std::move(answer)), true);
    return false;
  }
  if (std::memcmp(frame.data(), router_.macs[from].bytes.data(), 6) != 0) return false;
  std::memcpy(frame.data(), nics_[1 - from]->options_.mac.bytes.data(), 6);
  std::memcpy(frame.data() + 6, router_.macs[1 - from].bytes.data(), 6);
  const Packet p = parse_packet(frame);
  if (p.version == 0 || p.hop_limit < 2) return false;
  if (!hosts_[from].is_unspecified() && p.destination != hosts_[from]) {
    ++paths_[from].counters.elsewhere;
    return false;
  }
  if (p.version == 6) {
    frame[kEthernetSize + 7] = std::byte(p.hop_limit - 1);
    return true;
  }
  frame[kEthernetSize + 8] = std::byte(p.hop_limit - 1);
  store_be16(&frame[kEthernetSize + 10], 0);
  const std::span<const std::byte> header(&frame[kEthernetSize], p.transport_at - kEthernetSize);
  store_be16(&frame[kEthernetSize + 10], finish_sum(sum_words(header)));
  return true;
}

void SimLink::send(int from, Bytes frame) {
  if (routed_ && !route(from, frame)) {
    for (LinkTap* tap : taps_)
      tap->on_sent(now_, from, frame, "for the router");
    return;
  }
  if (paths_[from].options.thin_acks.ns != 0 && thin(from, frame)) return;
  carry(from, std::move(frame));
}

// True: the frame is an ACK that waits now. Whatever else a flow sends goes behind its waiting ACK.
bool SimLink::thin(int from, Bytes& frame) {
  Path& path = paths_[from];
  const Packet p = parse_packet(frame);
  if (!p.is_tcp()) return false;
  const std::uint64_t flow = std::uint64_t{p.tcp.source_port} << 16 | p.tcp.destination_port;
  const auto it = path.waiting.find(flow);
  const bool pure =
      p.tcp.flags == TcpFlags::ack && p.tcp.payload.empty() && p.tcp.options.sack_count == 0;
  if (it != path.waiting.end()) {
    if (pure && after(p.tcp.ack, it->second.ack)) {
      for (LinkTap* tap : taps_)
        tap->on_sent(now_, from, it->second.frame, "thinned out");
      ++path.counters.thinned;
      it->second.frame = std::move(frame);
      it->second.ack = p.tcp.ack;
      return true;
    }
    release_waiting(from, flow);
  }
  if (!pure) return false;
  push(now_ + path.options.thin_acks, What::thin, from, nullptr, true, flow);
  path.waiting[flow] = {std::move(frame), p.tcp.ack, order_};
  return true;
}

void SimLink::release_waiting(int from, std::uint64_t flow) {
  auto node = paths_[from].waiting.extract(flow);
  carry(from, std::move(node.mapped().frame));
}

bool SimLink::in_bad_time(Path& path) {
  while (path.turns <= now_) {
    path.bad = !path.bad;
    path.turns = path.turns +
                 draw_time(path.random, path.bad ? path.options.bad_mean : path.options.good_mean);
  }
  return path.bad;
}

// Why it doesn't come through; nullptr: it does.
const char* SimLink::fate(Path& path, const Bytes& frame, std::size_t ip_length) {
  const PathOptions& o = path.options;
  if (now_ >= o.dead_from && now_ < o.dead_until) return "lost: the link is dead";
  if (ip_length > o.mtu) {
    ++path.counters.too_big;
    return "dropped: above the path's MTU";
  }
  if (chance(path.random, o.loss)) return "lost";
  if (in_bad_time(path) && chance(path.random, o.bad_loss)) return "lost in a burst";
  if (o.rate == 0) return nullptr;
  const Duration wait = std::max(Duration{}, path.busy_until - now_);
  const auto backlog = static_cast<std::uint64_t>(wait.as_seconds() * static_cast<double>(o.rate));
  if (backlog + frame.size() > std::max<std::uint64_t>(o.queue, frame.size())) {
    ++path.counters.queue_drops;
    return "dropped: the queue is full";
  }
  return nullptr;
}

void SimLink::carry(int from, Bytes frame) {
  Path& path = paths_[from];
  const PathOptions& o = path.options;
  ++path.counters.frames;
  const Packet p = parse_packet(frame);
  const char* why = fate(path, frame, p.ip_length);
  const bool duplicate = chance(path.random, o.duplicate);
  const bool corrupt = chance(path.random, o.corrupt) && p.version != 0;
  const bool reorder = chance(path.random, o.reorder);
  const char* mishap = duplicate ? "duplicated" : corrupt ? "corrupted" : reorder ? "late" : "";
  for (LinkTap* tap : taps_)
    tap->on_sent(now_, from, frame, why != nullptr ? why : mishap);
  if (why != nullptr) {
    ++path.counters.lost;
    if (p.ip_length > o.mtu && o.answer_too_big && now_ < o.dead_from) answer_too_big(from, frame);
    return;
  }
  const Instant out = std::max(now_, path.busy_until) + time_of(frame.size(), o.rate);
  const Duration wait = out - now_;
  path.busy_until = out;
  if (p.ecn != 0 && o.rate != 0 &&
      wait.as_seconds() * static_cast<double>(o.rate) > static_cast<double>(o.mark_above)) {
    ++path.counters.marked;
    frame[kEthernetSize + 1] |= p.version == 4 ? std::byte{0x03} : std::byte{0x30};
    if (p.version == 4) {
      store_be16(&frame[kEthernetSize + 10], 0);
      const std::span<const std::byte> header(&frame[kEthernetSize],
                                              p.transport_at - kEthernetSize);
      store_be16(&frame[kEthernetSize + 10], finish_sum(sum_words(header)));
    }
  }
  Instant at = out + o.delay;
  if (o.jitter.ns != 0) {
    at = at + Duration::nanoseconds(static_cast<std::int64_t>(path.random.below(o.jitter.ns)));
  }
  if (reorder) {
    ++path.counters.reordered;
    at = at + Duration::nanoseconds(static_cast<std::int64_t>(path.random.below(o.reorder_by.ns)));
  } else {
    at = path.last_arrival = std::max(at, path.last_arrival);
  }
  if (duplicate) {
    ++path.counters.duplicated;
    const Instant again =
        at +
        Duration::nanoseconds(static_cast<std::int64_t>(path.random.below(1 + o.reorder_by.ns)));
    push(again, What::arrive, 1 - from, std::make_unique<Bytes>(frame), true);
  }
  if (corrupt) {
    ++path.counters.corrupted;
    // At most 8 neighbouring bits: no ones' complement sum misses these.
    const std::size_t bit =
        kEthernetSize * 8 + path.random.below((frame.size() - kEthernetSize) * 8 - 8);
    const std::uint32_t mask = 1 + static_cast<std::uint32_t>(path.random.below(255));
    for (std::uint32_t i = 0; i < 8; ++i) {
      if ((mask >> i & 1) != 0) frame[(bit + i) / 8] ^= std::byte(1u << (bit + i) % 8);
    }
  }
  push(at, What::arrive, 1 - from, std::make_unique<Bytes>(std::move(frame)), !corrupt);
}

// A router on the way says so; its answer comes as late as the path back makes it.
void SimLink::answer_too_big(int from, const Bytes& frame) {
  const Packet p = parse_packet(frame);
  Addressing to{.source_mac = p.destination_mac, .destination_mac = p.source_mac};
  if (routed_) {
    to.source_mac = router_.macs[from];
    to.destination_mac = nics_[from]->options_.mac;
    to.source = router_.addresses[from];
  } else {
    to.source = p.version == 4 ? IpAddress::v4(10, 99, 0, 1) : p.destination;
    if (p.version == 6) to.source.bytes[8] ^= 0x40;
  }
  to.destination = p.source;
  const auto packet = std::span<const std::byte>(frame).subspan(kEthernetSize, p.ip_length);
  const std::size_t quote = p.version == 4 ? 28 + paths_[from].random.below(400) : 1200;
  Bytes answer = build_too_big(to, paths_[from].options.mtu, packet, quote);
  push(now_ + paths_[1 - from].options.delay, What::arrive, from,
       std::make_unique<Bytes>(std::move(answer)), true);
}

void SimLink::arrive(int side, Bytes frame, bool intact) {
  SimNic& nic = *nics_[side];
  const bool ours = (frame[0] & std::byte{1}) != std::byte{0} ||
                    std::memcmp(frame.data(), nic.options_.mac.bytes.data(), 6) == 0;
  if (!ours) return;
  if (nic.received_.size() >= nic.options_.rx_ring) {
    ++paths_[1 - side].counters.ring_drops;
    return;
  }
  for (LinkTap* tap : taps_)
    tap->on_received(now_, side, frame, intact);
  auto checksum = net::RxChecksum::unknown;
  if (nic.options_.rx_checksum) {
    const Packet p = parse_packet(frame);
    if (p.version != 0 && p.problem == nullptr) {
      checksum = p.transport_checksum_good ? net::RxChecksum::good : net::RxChecksum::bad;
    }
  }
  nic.received_.push_back({std::move(frame), checksum});
}

}  // namespace penstock::support
