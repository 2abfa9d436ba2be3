// The way in and the way out under attack: listener, cookies, mini control blocks and TIME-WAIT of
// a small host, as net/ puts them together. The input decides which SYNs, ACKs and oddities come
// from a few peers, how many from strangers, and when.
//
// Nobody is let in but with a number that was sent to just him, and not too late; no memory grows;
// one segment is answered by one at most, a reset by none; resets and challenges keep to budgets.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/assert.hh"
#include "fuzz/input.hh"
#include "tcp/listener.hh"
#include "tcp/shared.hh"
#include "tcp/time_wait.hh"

namespace {

using namespace penstock;
using fuzz::Input;
using wire::TcpFlags;

constexpr Instant kStart{1'000'000'000'000};
constexpr std::size_t kPeers = 8;
constexpr std::size_t kConnections = 3;
constexpr std::uint16_t kMss = 1'460;
// A cookie's two epochs; a block goes earlier: 1 + 2 + 4 s with two retries.
constexpr Duration kLetInWithin = Duration::seconds(128);

tcp::Limits small_limits() {
  tcp::Limits limits;
  limits.connections_max = kConnections;
  limits.syn_backlog = 4;
  limits.time_wait_max = 3;
  limits.send_pages = limits.receive_pages = 4;
  limits.record_pages = 8;
  limits.syn_ack_retries = 2;
  limits.challenge_acks = 6;
  limits.resets_to_nobody = 6;
  return limits;
}

// A SYN-ACK that went to a peer.
struct Issued {
  SeqNumber iss;
  SeqNumber irs;
  std::uint16_t peer_mss;
  Instant at;
};

struct Peer {
  tcp::Flow flow;
  std::unique_ptr<tcp::Connection> connection;
  std::vector<Issued> issued;
  SeqNumber next{0};  // what it sends next
  SeqNumber seen{0};  // the end of what was last sent to it
  std::uint32_t stamp = 0;
  std::uint16_t mss = 0;  // the most that a SYN of it said
};

class World {
 public:
  explicit World(Input& input)
      : in_(input), shared_(small_limits(), {3, 4}), listener_(shared_), time_wait_(shared_) {
    for (std::size_t i = 0; i < kPeers; ++i) {
      peers_[i].flow = flow_from(static_cast<std::uint32_t>(i));
      peers_[i].next = SeqNumber(static_cast<std::uint32_t>(i) * 0x2fff'ffff);
    }
  }

  void run() {
    while (!in_.empty()) {
      step();
      listener_.validate();
      time_wait_.validate();
      ASSERT(listener_.half_open() <= shared_.limits().syn_backlog);
      ASSERT(time_wait_.size() <= shared_.limits().time_wait_max);
      const auto seconds = static_cast<std::uint64_t>((now_ - kStart).ns / 1'000'000'000 + 1);
      ASSERT(resets_ <= seconds * 9);
      ASSERT(shared_.counters.challenge_acks <= seconds * 9);
    }
  }

 private:
  static tcp::Flow flow_from(std::uint32_t source) {
    tcp::Flow flow;
    flow.local = *parse_ip("192.0.2.1");
    flow.remote = flow.local;
    flow.remote.bytes[13] = static_cast<std::uint8_t>(source >> 16);
    flow.remote.bytes[14] = static_cast<std::uint8_t>(source >> 8 | 0x80);
    flow.remote.bytes[15] = static_cast<std::uint8_t>(source);
    flow.local_port = 6881;
    flow.remote_port = 5000;
    return flow;
  }

  void step() {
    const std::uint8_t what = in_.byte();
    Peer& peer = peers_[what >> 3 & (kPeers - 1)];
    const unsigned more = what >> 6;
    switch (what & 7) {
      case 0:
        return syn(peer);
      case 1:
        return flood(in_.byte());
      case 2:  // as a good peer would answer
        return segment(peer, more == 3 ? TcpFlags::ack | TcpFlags::fin : +TcpFlags::ack, 0, 0);
      case 3: {
        const std::uint8_t flags = in_.byte();
        const auto seq = static_cast<std::int8_t>(in_.byte());
        return segment(peer, flags, seq, static_cast<std::int8_t>(in_.byte()));
      }
      case 4:
        now_ = now_ + Duration::milliseconds(std::int64_t{1} << (what >> 3 & 15));
        return timers();
      case 5:
        if (peer.connection)
          more == 0 ? peer.connection->abort(now_) : peer.connection->close(now_);
        return settle(peer);
      case 6:
        listener_.on_unreachable(peer.flow, peer.seen - (more & 1));
        return;
      default:
        return wait(peer);
    }
  }

  void syn(Peer& peer) {
    const std::uint8_t how = in_.byte();
    wire::TcpSegment s;
    s.flags = TcpFlags::syn;
    if ((how & 1) != 0) s.flags |= TcpFlags::ece | TcpFlags::cwr;
    if ((how & 2) != 0) peer.next = peer.next + 1000U * in_.byte();
    if ((how & 4) != 0) s.options.mss = in_.half();
    if ((how & 8) != 0) s.options.window_shift = in_.byte() % 15;
    s.options.sack_permitted = (how & 16) != 0;
    timestamps(peer, s, (how & 32) != 0);
    s.seq = peer.next - 1;
    s.window = 1000;
    s.ecn = how >> 6;
    peer.mss = std::max(peer.mss, s.options.mss);
    arrive(peer, s);
  }

  void flood(std::uint8_t count) {
    for (unsigned i = 0; i < count; ++i) {
      wire::TcpSegment s;
      s.flags = (count & 1) != 0 && (i & 1) != 0 ? TcpFlags::ack : TcpFlags::syn;
      s.seq = SeqNumber(strangers_);
      s.options.mss = kMss;
      Peer stranger;
      stranger.flow = flow_from(0x10000 + strangers_++ % 1'000);
      stranger.mss = kMss;
      arrive(stranger, s);
      ASSERT(!stranger.connection);
    }
  }

  void segment(Peer& peer, unsigned flags, int seq, int ack) {
    wire::TcpSegment s;
    s.flags = static_cast<std::uint8_t>(flags);
    s.seq = peer.next + static_cast<std::uint32_t>(seq);
    s.ack = peer.seen + static_cast<std::uint32_t>(ack);
    s.window = 500;
    timestamps(peer, s, seq != 3 && peer.stamp != 0);
    static constexpr std::array<std::byte, 16> kPayload{};
    if ((seq & 4) != 0) s.payload = kPayload;
    arrive(peer, s);
  }

  void timestamps(const Peer& peer, wire::TcpSegment& s, bool has) const {
    s.options.has_timestamps = has;
    s.options.ts_value = static_cast<std::uint32_t>(now_.ns / 1'000'000);
    s.options.ts_echo = peer.stamp;
  }

  // A block as connections leave it.
  void wait(Peer& peer) {
    if (peer.connection || time_wait_.contains(peer.flow)) return;
    tcp::TimeWaitState state;
    state.snd_nxt = peer.seen;
    state.rcv_nxt = peer.next;
    state.timestamps = (in_.byte() & 1) != 0;
    state.ts_recent = static_cast<std::uint32_t>(now_.ns / 1'000'000);
    time_wait_.add(now_, peer.flow, state);
  }

  void timers() {
    tcp::Flow flow;
    tcp::SegmentOut out;
    for (std::uint32_t i = 0; listener_.poll_transmit(now_, flow, out); ++i) {
      ASSERT(i < shared_.limits().syn_backlog * 3);
      for (Peer& peer : peers_)
        if (peer.flow == flow) issue(peer, out);
    }
    ASSERT(listener_.next_timeout() > now_);
    time_wait_.on_timeout(now_);
    ASSERT(time_wait_.next_timeout() > now_);
    for (Peer& peer : peers_) {
      if (peer.connection && peer.connection->next_timeout() <= now_)
        peer.connection->on_timeout(now_);
      settle(peer);
    }
  }

  // --- as net::Stack does ---

  void arrive(Peer& peer, const wire::TcpSegment& s) {
    if (peer.connection) {
      peer.connection->on_segment(now_, s);
      return settle(peer);
    }
    tcp::TimeWaitTable::Answer waited;
    time_wait_.on_segment(now_, peer.flow, s, waited);
    using Waited = tcp::TimeWaitTable::Verdict;
    if (waited.verdict == Waited::drop) return;
    if (waited.verdict == Waited::reply) return reply(peer, s, waited.reply);
    const bool reopens = waited.verdict == Waited::reopen;
    tcp::Listener::Answer answer;
    if (s.has(TcpFlags::syn) && !s.has(TcpFlags::ack) && !s.has(TcpFlags::rst) &&
        !s.has(TcpFlags::fin)) {
      listener_.on_syn(now_, peer.flow, s, kMss, reopens ? &waited.iss_least : nullptr, answer);
      if (answer.verdict == tcp::Listener::Verdict::reply) {
        ASSERT(answer.reply.ack == s.seq + 1);
        issue(peer, answer.reply);
      }
    } else {
      ASSERT(!reopens);
      listener_.on_ack(now_, peer.flow, s, kMss, connections_ < kConnections, answer);
    }
    using Verdict = tcp::Listener::Verdict;
    if (answer.verdict == Verdict::reply) return reply(peer, s, answer.reply);
    if (answer.verdict == Verdict::establish) return establish(peer, s, answer.opening);
    tcp::SegmentOut reset;
    if (answer.verdict == Verdict::not_here && tcp::reset_to_nobody(now_, shared_, s, reset)) {
      ++resets_;
      // RFC 9293 §3.10.7.1.
      ASSERT(s.has(TcpFlags::ack) ? reset.seq == s.ack : reset.ack == s.seq + s.length());
      reply(peer, s, reset);
    }
  }

  void reply(Peer& peer, const wire::TcpSegment& to, const tcp::SegmentOut& out) {
    ASSERT(!to.has(TcpFlags::rst));
    ASSERT(out.payload_length == 0 && out.part_count == 0 && out.options_length % 4 == 0);
    if ((out.flags & TcpFlags::rst) == 0) note(peer, out);
  }

  void issue(Peer& peer, const tcp::SegmentOut& out) {
    ASSERT((out.flags & (TcpFlags::syn | TcpFlags::ack)) == (TcpFlags::syn | TcpFlags::ack));
    peer.issued.push_back({out.seq, out.ack - 1, peer.mss, now_});
    note(peer, out);
  }

  void note(Peer& peer, const tcp::SegmentOut& out) {
    const bool counts = (out.flags & (TcpFlags::syn | TcpFlags::fin)) != 0;
    peer.seen = out.seq + out.payload_length + (counts ? 1U : 0U);
    wire::TcpOptions options;
    const bool parsed =
        wire::parse_tcp_options(std::span(out.options).first(out.options_length), options);
    ASSERT(parsed);
    if (options.has_timestamps) peer.stamp = options.ts_value;
  }

  void establish(Peer& peer, const wire::TcpSegment& s, const tcp::Opening& opening) {
    ASSERT(connections_ < kConnections && s.ack == opening.iss + 1);
    const bool known = std::any_of(peer.issued.begin(), peer.issued.end(), [&](const Issued& i) {
      return i.iss == opening.iss && i.irs == opening.irs && now_ - i.at <= kLetInWithin &&
             opening.peer.mss <= std::max<std::uint16_t>(i.peer_mss, 536);
    });
    ASSERT(known);
    ++connections_;
    peer.connection = std::make_unique<tcp::Connection>(shared_);
    peer.connection->open_passive(now_, opening, true);
    peer.connection->on_segment(now_, s);
    settle(peer);
  }

  void settle(Peer& peer) {
    if (!peer.connection) return;
    static tcp::TxBurst burst;
    burst.clear();
    bool over = false;
    const auto drain = [&] {
      tcp::Event event;
      while (peer.connection->poll_event(event))
        over = event.kind == tcp::Event::Kind::closed;
    };
    drain();
    peer.connection->poll_transmit(now_, burst);
    for (std::size_t i = 0; i < burst.size(); ++i)
      if ((burst[i].flags & TcpFlags::rst) == 0) note(peer, burst[i]);
    drain();
    peer.connection->validate();
    if (!over) return;
    tcp::TimeWaitState state;
    if (peer.connection->time_wait(state)) {
      peer.next = state.rcv_nxt;
      time_wait_.add(now_, peer.flow, state);
    }
    peer.connection.reset();
    --connections_;
  }

  Input& in_;
  Instant now_ = kStart;
  tcp::Shared shared_;
  tcp::Listener listener_;
  tcp::TimeWaitTable time_wait_;
  std::array<Peer, kPeers> peers_;
  std::size_t connections_ = 0;
  std::uint32_t strangers_ = 0;
  std::uint64_t resets_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::run_world<World>(data, size);
}
