#include "sim/wire_observer.hh"

#include <algorithm>

#include <xxhash.h>

#include "support/pattern.hh"

namespace penstock::test {
namespace {

using support::Packet;
using wire::TcpFlags;

// The position nearest to `near` whose sequence number is `seq`.
std::uint64_t unwrap(SeqNumber seq, SeqNumber iss, std::uint64_t near) {
  const auto delta =
      static_cast<std::int32_t>(seq.value - (iss.value + static_cast<std::uint32_t>(near)));
  const auto at = static_cast<std::int64_t>(near) + delta;
  return at < 0 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(at);
}

std::uint64_t scaled(const wire::TcpSegment& s, std::uint8_t shift) {
  return s.has(TcpFlags::syn) ? s.window : std::uint64_t{s.window} << shift;
}

}  // namespace

void RangeSet::add(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) return;
  auto it = ranges_.upper_bound(begin);
  if (it != ranges_.begin() && std::prev(it)->second >= begin) --it;
  while (it != ranges_.end() && it->first <= end) {
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    it = ranges_.erase(it);
  }
  ranges_[begin] = end;
}

void RangeSet::remove_from(std::uint64_t begin) {
  ranges_.erase(ranges_.lower_bound(begin), ranges_.end());
  if (!ranges_.empty()) {
    std::uint64_t& last = ranges_.rbegin()->second;
    last = std::min(last, begin);
  }
}

bool RangeSet::covers(std::uint64_t begin, std::uint64_t end) const {
  return begin >= end || contiguous_from(begin) >= end;
}

std::uint64_t RangeSet::contiguous_from(std::uint64_t begin) const {
  auto it = ranges_.upper_bound(begin);
  if (it == ranges_.begin()) return begin;
  return std::max(begin, std::prev(it)->second);
}

WireObserver::WireObserver(const Options& options)
    : options_(options), hash_state_(XXH3_createState()) {
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(hash_state_));
}

WireObserver::~WireObserver() {
  XXH3_freeState(static_cast<XXH3_state_t*>(hash_state_));
}

std::uint64_t WireObserver::trace_hash() const {
  return XXH3_64bits_digest(static_cast<XXH3_state_t*>(hash_state_));
}

void WireObserver::hash(Instant now, int what, std::span<const std::byte> frame) {
  const std::int64_t head[3] = {now.ns, what, static_cast<std::int64_t>(frame.size())};
  XXH3_64bits_update(static_cast<XXH3_state_t*>(hash_state_), head, sizeof head);
  XXH3_64bits_update(static_cast<XXH3_state_t*>(hash_state_), frame.data(), frame.size());
}

std::uint64_t WireObserver::key_of(int side, const wire::TcpSegment& s) const {
  return side == 0 ? std::uint64_t{s.source_port} << 16 | s.destination_port
                   : std::uint64_t{s.destination_port} << 16 | s.source_port;
}

std::uint16_t WireObserver::client_port(int client_side, std::uint16_t server_port) const {
  for (const auto& [key, flow] : flows_) {
    if (flow.client != client_side || flow.server_port != server_port) continue;
    return static_cast<std::uint16_t>(client_side == 0 ? key >> 16 : key);
  }
  return 0;
}

bool WireObserver::greeted(int client_side, std::uint16_t server_port) const {
  for (const auto& [key, flow] : flows_) {
    if (flow.client == client_side && flow.server_port == server_port)
      return flow.half[1 - client_side].acked > 0;
  }
  return false;
}

bool WireObserver::numbers(int client_side, std::uint16_t server_port, int side, SeqNumber& iss,
                           std::uint32_t& timestamp) const {
  for (const auto& [key, flow] : flows_) {
    const Half& half = flow.half[side];
    if (flow.client != client_side || flow.server_port != server_port || !half.syn_sent) continue;
    iss = half.iss;
    timestamp = half.ts_sent;
    return true;
  }
  return false;
}

void WireObserver::fail(Instant now, int side, const Packet& p, const std::string& text) {
  if (!wrong_.empty()) return;
  SeqNumber seq_base, ack_base;
  if (p.is_tcp()) {
    const auto it = flows_.find(key_of(side, p.tcp));
    if (it != flows_.end()) {
      seq_base = it->second.half[side].iss;
      ack_base = it->second.half[1 - side].iss;
    }
  }
  wrong_ = support::describe(now) + ": host " + (side == 0 ? "A" : "B") + ": " + text + ": " +
           support::describe(p, seq_base, ack_base);
}

WireObserver::Flow* WireObserver::flow_of_sent(Instant now, int side, const Packet& p) {
  const wire::TcpSegment& s = p.tcp;
  const std::uint64_t key = key_of(side, s);
  const auto it = flows_.find(key);
  if (s.has(TcpFlags::syn) && !s.has(TcpFlags::ack)) {
    if (it != flows_.end()) {
      Half& mine = it->second.half[side];
      if (mine.syn_sent && mine.iss == s.seq) return &it->second;
      const bool over = it->second.half[0].reset || it->second.half[1].reset ||
                        (it->second.half[0].fin_at != ~0ull && it->second.half[1].fin_at != ~0ull);
      if (mine.syn_sent && !over) fail(now, side, p, "another SYN in a connection that lives");
    }
    Flow& flow = flows_[key] = Flow{};
    flow.client = side;
    flow.server_port = s.destination_port;
    return &flow;
  }
  if (it == flows_.end()) {
    if (!s.has(TcpFlags::rst)) fail(now, side, p, "a segment of no connection");
    return nullptr;
  }
  return &it->second;
}

void WireObserver::take_syn(Half& half, const wire::TcpSegment& s) {
  half.any_ts = half.any_ts && half.iss == s.seq;
  half.syn_sent = true;
  half.iss = s.seq;
  half.shift = s.options.window_shift;
  half.mss = s.options.mss;
  half.timestamps = s.options.has_timestamps;
  half.sack = s.options.sack_permitted;
}

bool WireObserver::check_syn(Instant now, int side, const Packet& p, Flow& flow) {
  const wire::TcpSegment& s = p.tcp;
  Half& mine = flow.half[side];
  if (mine.syn_sent && mine.iss != s.seq) {
    if (mine.fin_at != ~std::uint64_t{0} || mine.reset) {
      // The connection is over here, and a SYN of it came late: the peer will know better.
      flow.half[0].reset = flow.half[1].reset = true;
      return false;
    }
    // A SYN-ACK by cookie may follow one from the backlog, or the other way round, until the
    // peer's ACK took up one of them.
    if (mine.acked > 0 || mine.sent_end > 1) fail(now, side, p, "another initial sequence number");
    if (flow.half[1 - side].came_end > 0) return false;
    mine.may_send = 0;
  }
  take_syn(mine, s);
  mine.sent_end = std::max<std::uint64_t>(mine.sent_end, 1);
  const std::uint16_t headers = p.version == 4 ? 40 : 60;
  if (s.options.mss + headers > options_.mtu[side]) fail(now, side, p, "an MSS above the MTU");
  if (mine.shift != wire::kNoWindowShift && mine.shift > 14) fail(now, side, p, "a scale above 14");
  if (s.has(TcpFlags::ack)) {
    const Half& peer = flow.half[1 - side];
    if (mine.timestamps && !peer.timestamps) fail(now, side, p, "timestamps that weren't offered");
    if (mine.sack && !peer.sack) fail(now, side, p, "SACK that wasn't offered");
    if (mine.shift != wire::kNoWindowShift && peer.shift == wire::kNoWindowShift) {
      fail(now, side, p, "a scale that wasn't offered");
    }
  }
  return true;
}

void WireObserver::check_data(Instant now, int side, const Packet& p, Flow& flow) {
  const wire::TcpSegment& s = p.tcp;
  Half& mine = flow.half[side];
  const Half& peer = flow.half[1 - side];
  const std::uint64_t begin = unwrap(s.seq, mine.iss, mine.sent_end) + s.has(TcpFlags::syn);
  const std::uint64_t end = begin + s.payload.size();
  if (begin > mine.sent_end && !holes_[side])
    return fail(now, side, p, "a hole after what was sent");
  if (!s.payload.empty()) {
    if (end > mine.fin_at) return fail(now, side, p, "data after the FIN");
    if (begin == 0 || begin > end) return fail(now, side, p, "data before the stream");
    const std::uint64_t key = stream_key(flow.server_port, side == flow.client);
    const std::size_t same = support::match_pattern(key, begin - 1, s.payload);
    if (same != s.payload.size()) {
      return fail(now, side, p, "wrong byte at " + std::to_string(begin - 1 + same));
    }
    const std::uint32_t mss = peer.mss != 0 ? peer.mss : p.version == 4 ? 536 : 1220;
    if (s.payload.size() + p.tcp_header_length - 20 > mss) {
      return fail(now, side, p, "more than the peer's MSS of " + std::to_string(mss));
    }
    const bool probe = end == mine.may_send + 1;
    if (end > mine.may_send && !probe) {
      return fail(now, side, p, "beyond the window, " + std::to_string(mine.may_send));
    }
    const std::uint64_t initial = std::min(10 * mss, std::max(2 * mss, 14600u));
    // Probes (RFC 8985 §7.3) and duplicate ACKs (RFC 3042) let two more go.
    if (mine.acked <= 1 && !mine.told && end - 1 > initial + 2 * mss)
      return fail(now, side, p, "beyond the initial window");
    if (begin < mine.sent_end) ++retransmitted_;
  }
  if (s.has(TcpFlags::fin)) {
    if (mine.fin_at != ~std::uint64_t{0} && mine.fin_at != end) {
      return fail(now, side, p, "FIN at another place");
    }
    mine.fin_at = end;
  }
  mine.sent_end = std::max(mine.sent_end, end + s.has(TcpFlags::fin));
}

void WireObserver::check_ack(Instant now, int side, const Packet& p, Flow& flow) {
  const wire::TcpSegment& s = p.tcp;
  Half& mine = flow.half[side];
  const Half& peer = flow.half[1 - side];
  if (!s.has(TcpFlags::ack)) {
    if (!s.has(TcpFlags::syn)) fail(now, side, p, "neither ACK nor SYN nor RST");
    return;
  }
  if (!peer.syn_sent) return fail(now, side, p, "an ACK before the peer's SYN");
  const std::uint64_t ack = unwrap(s.ack, peer.iss, mine.came_end);
  if (ack > mine.came_end) {
    return fail(now, side, p,
                "acknowledges what didn't come, beyond " + std::to_string(mine.came_end));
  }
  // Behind by more than scheduling explains? An ACK never goes back (a device keeps the order).
  if (ack < mine.ack_sent) return fail(now, side, p, "an ACK below an earlier one");
  for (std::size_t i = 0; i < s.options.sack_count; ++i) {
    const std::uint64_t begin = unwrap(s.options.sacks[i].begin, peer.iss, mine.came_end);
    const std::uint64_t end = unwrap(s.options.sacks[i].end, peer.iss, mine.came_end);
    if (begin >= end || !mine.came.covers(begin, end)) {
      return fail(now, side, p, "a SACK block of what didn't come");
    }
    if (!mine.sack || !peer.sack) return fail(now, side, p, "SACK that wasn't agreed on");
  }
  const bool scaling = mine.shift != wire::kNoWindowShift && peer.shift != wire::kNoWindowShift;
  const std::uint8_t shift = scaling ? mine.shift : 0;
  const std::uint64_t end = ack + scaled(s, shift);
  if (end + (std::uint64_t{1} << shift) <= mine.promised) {
    fail(now, side, p, "takes back its window, promised until " + std::to_string(mine.promised));
  }
  mine.promised = std::max(mine.promised, end);
  mine.good.add(0, ack);
  mine.good_end = mine.good.contiguous_from(0);
  if (ack == mine.good_end) {
    mine.ack_due = Instant::never();
  } else if (ack > mine.ack_sent) {
    mine.ack_due = now + options_.ack_within;
  }
  mine.spoke = mine.spoke || !s.has(TcpFlags::syn);
  mine.ack_sent = ack;
}

void WireObserver::check_timestamps(Instant now, int side, const Packet& p, Flow& flow) {
  const wire::TcpSegment& s = p.tcp;
  Half& mine = flow.half[side];
  const Half& peer = flow.half[1 - side];
  const bool agreed = mine.timestamps && peer.timestamps;
  if (!s.has(TcpFlags::syn) && agreed != s.options.has_timestamps) {
    return fail(now, side, p, agreed ? "no timestamps" : "timestamps that weren't agreed on");
  }
  if (!s.options.has_timestamps) return;
  if (mine.any_ts && before(SeqNumber(s.options.ts_value), SeqNumber(mine.ts_sent))) {
    return fail(now, side, p, "timestamps go back from " + std::to_string(mine.ts_sent));
  }
  mine.any_ts = true;
  mine.ts_sent = s.options.ts_value;
  if (!s.has(TcpFlags::ack)) return;
  if (!mine.ts_came || after(SeqNumber(s.options.ts_echo), SeqNumber(mine.ts_latest))) {
    fail(now, side, p, "echoes a timestamp that didn't come");
  }
}

void WireObserver::on_sent(Instant now, int side, std::span<const std::byte> frame, const char*) {
  hash(now, side, frame);
  const Packet p = support::parse_packet(frame);
  if (++frames_ > options_.frames_max) fail(now, side, p, "too many frames");
  if (p.version == 0) return;
  if (p.problem != nullptr) return fail(now, side, p, "malformed");
  if (p.ip_length > options_.mtu[side]) return fail(now, side, p, "above the MTU");
  if (!p.checksums_good()) return fail(now, side, p, "a bad checksum");
  if (!p.dont_fragment) return fail(now, side, p, "may be fragmented");
  if (!p.is_tcp()) return;
  if (p.options_malformed) return fail(now, side, p, "malformed options");
  Flow* flow = flow_of_sent(now, side, p);
  if (flow == nullptr) return;
  if (p.tcp.has(TcpFlags::rst)) {
    flow->half[0].reset = flow->half[1].reset = true;
    return;
  }
  if (p.tcp.has(TcpFlags::syn) && !check_syn(now, side, p, *flow)) return;
  if (flow->half[side].reset) return;
  if (!flow->half[side].syn_sent) return fail(now, side, p, "a segment before the SYN");
  check_data(now, side, p, *flow);
  check_ack(now, side, p, *flow);
  check_timestamps(now, side, p, *flow);
}

void WireObserver::on_received(Instant now, int side, std::span<const std::byte> frame, bool) {
  hash(now, 2 + side, frame);
  const Packet p = support::parse_packet(frame);
  // What was damaged where no checksum looks is as good as whole.
  if (!p.is_tcp() || !p.checksums_good()) return;
  const wire::TcpSegment& s = p.tcp;
  const auto it = flows_.find(key_of(1 - side, s));
  if (it == flows_.end()) return;
  Half& mine = it->second.half[side];
  Half& peer = it->second.half[1 - side];
  if (s.has(TcpFlags::rst) || !peer.syn_sent) return;
  if (s.has(TcpFlags::syn) && s.seq != peer.iss) {
    // The first of several SYN-ACKs that comes is the one that counts.
    if (mine.came_end > 0) return;
    take_syn(peer, s);
  }
  const std::uint64_t begin = unwrap(s.seq, peer.iss, mine.came_end);
  const std::uint64_t end = begin + s.length();
  const bool old = s.options.has_timestamps && mine.ts_came &&
                   before(SeqNumber(s.options.ts_value), SeqNumber(mine.ts_latest));
  if (begin <= peer.sent_end && end <= peer.sent_end) {
    mine.came.add(begin, end);
    if (!old) mine.good.add(begin, end);
  }
  mine.came_end = mine.came.contiguous_from(0);
  const std::uint64_t good = mine.good.contiguous_from(0);
  const bool wanted = good <= mine.promised || mine.promised == 0;
  if (good > mine.good_end && good > mine.ack_sent && wanted && mine.ack_due == Instant::never() &&
      mine.syn_sent) {
    mine.ack_due = now + options_.ack_within;
    // The first segment may have to ask for the neighbour's address, three times (RFC 4861 §7.2.2).
    if (!mine.spoke) mine.ack_due = mine.ack_due + Duration::seconds(4);
  }
  mine.good_end = good;
  if (s.options.has_timestamps &&
      (!mine.ts_came || after(SeqNumber(s.options.ts_value), SeqNumber(mine.ts_latest)))) {
    mine.ts_came = true;
    mine.ts_latest = s.options.ts_value;
  }
  if (s.has(TcpFlags::ack) && mine.syn_sent) {
    const bool scaling = mine.shift != wire::kNoWindowShift && peer.shift != wire::kNoWindowShift;
    const std::uint64_t ack = unwrap(s.ack, mine.iss, mine.sent_end);
    if (ack > mine.sent_end) return;
    const bool nothing = s.length() == 0 && ack == mine.acked && ack < mine.sent_end;
    mine.told = mine.told || s.options.sack_count != 0 || (nothing && mine.acked > 0);
    mine.acked = std::max(mine.acked, ack);
    mine.may_send = std::max(mine.may_send, ack + scaled(s, scaling ? peer.shift : 0));
  }
}

void WireObserver::expect_repetition(int side) {
  for (auto& [key, flow] : flows_) {
    Half& half = flow.half[side];
    half.good.remove_from(half.ack_sent);
    half.good_end = half.good.contiguous_from(0);
    half.ack_due = Instant::never();
  }
}

void WireObserver::check_overdue(Instant now) {
  if (!wrong_.empty()) return;
  for (const auto& [key, flow] : flows_) {
    for (int side = 0; side < 2; ++side) {
      const Half& half = flow.half[side];
      if (half.reset || half.ack_due >= now) continue;
      wrong_ = support::describe(now) + ": host " + (side == 0 ? "A" : "B") + ": no ACK of " +
               std::to_string(half.ack_sent) + " … " + std::to_string(half.good_end) + " within " +
               std::to_string(options_.ack_within.as_seconds()) + " s (port " +
               std::to_string(flow.server_port) + ")";
    }
  }
}

}  // namespace penstock::test
