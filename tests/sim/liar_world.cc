#include "sim/liar_world.hh"

#include <algorithm>
#include <cstring>

namespace penstock::test {
namespace {

using wire::TcpFlags;

constexpr std::uint16_t kServerPort = 7000;
constexpr std::uint16_t kPort = 40'000;
constexpr SeqNumber kIss(12'345);
constexpr std::uint8_t kShift = 7;
constexpr std::uint16_t kMss = 1460;

const IpAddress kServer = IpAddress::v4(10, 0, 1, 1);
const IpAddress kReceiver = IpAddress::v4(10, 0, 2, 2);

constexpr wire::MacAddress mac(std::uint8_t group, std::uint8_t number) {
  return {{2, 0, 0, 0, group, number}};
}

support::NicOptions nic(std::uint8_t number) {
  support::NicOptions n;
  n.mac = mac(0, number);
  n.tx_ring = number == 1 ? 512 : 65536;
  n.rx_ring = 65536;
  n.tx_checksum = number == 1;
  n.tso_bytes_max = number == 1 ? 65'000 : 0;
  n.rx_checksum = true;
  return n;
}

support::PathOptions path(const LiarOptions& o, bool lossy) {
  support::PathOptions p;
  p.delay = o.delay;
  p.rate = o.rate;
  p.queue = 4 << 20;
  p.loss = lossy ? o.loss : 0;
  return p;
}

BulkOptions server(const LiarOptions& o) {
  BulkOptions out;
  net::StackOptions& s = out.stack;
  s.interfaces.push_back(
      {.address = kServer, .prefix_length = 24, .gateway = IpAddress::v4(10, 0, 1, 254)});
  s.listen = {kServerPort};
  s.connections_max = 4;
  s.send_pages = s.receive_pages = 1024;
  s.record_pages = 4096;
  s.secret = {o.seed, 99};
  return out;
}

// Adds [begin, end) to ranges that are disjoint and apart; returns what was new of it.
std::uint64_t add(std::map<std::uint64_t, std::uint64_t>& ranges, std::uint64_t begin,
                  std::uint64_t end) {
  std::uint64_t had = 0;
  auto it = ranges.upper_bound(begin);
  if (it != ranges.begin() && std::prev(it)->second >= begin) --it;
  const std::uint64_t from = begin;
  const std::uint64_t to = end;
  while (it != ranges.end() && it->first <= end) {
    had += std::min(it->second, to) - std::min(std::max(it->first, from), std::min(it->second, to));
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    it = ranges.erase(it);
  }
  ranges[begin] = end;
  return to - from - had;
}

}  // namespace

const char* name_of(Lie lie) {
  constexpr const char* kNames[] = {"none",   "divided",  "duplicates", "optimistic", "reneging",
                                    "absurd", "claiming", "concealing", "forging"};
  return kNames[static_cast<std::size_t>(lie)];
}

// What the server put on the wire.
class LiarWorld::Watch final : public support::LinkTap {
 public:
  explicit Watch(LiarWorld& world) : world_(world) {}
  void on_sent(Instant, int side, std::span<const std::byte> frame, const char*) override {
    if (side != 0) return;
    const support::Packet p = support::parse_packet(frame);
    if (!p.is_tcp() || p.tcp.payload.empty()) return;
    world_.out_.sent += p.tcp.payload.size();
    highest = std::max<std::uint64_t>(
        highest, (p.tcp.seq - world_.iss_ - 1) + static_cast<std::uint32_t>(p.tcp.payload.size()));
    const auto excess =
        static_cast<std::int64_t>(highest) - static_cast<std::int64_t>(2 * world_.unique_);
    world_.out_.excess = std::max(world_.out_.excess, excess - 10 * kMss);
  }
  void on_received(Instant, int, std::span<const std::byte>, bool) override {}

  std::uint64_t highest = 0;

 private:
  LiarWorld& world_;
};

LiarWorld::LiarWorld(const LiarOptions& options)
    : options_(options),
      link_(options.seed, nic(1), nic(2), path(options, true), path(options, false)),
      watch_(std::make_unique<Watch>(*this)),
      random_(options.seed) {
  support::RouterOptions router;
  router.macs[0] = mac(1, 1);
  router.macs[1] = mac(1, 2);
  router.addresses[0] = IpAddress::v4(10, 0, 1, 254);
  router.addresses[1] = IpAddress::v4(10, 0, 2, 254);
  link_.set_router(router);
  link_.add_tap(*watch_);
  server_ = std::make_unique<BulkHost>(link_, 0, server(options));
}

LiarWorld::~LiarWorld() = default;

wire::TcpOptions LiarWorld::stamped() {
  wire::TcpOptions options;
  options.has_timestamps = options_.timestamps;
  options.ts_value = static_cast<std::uint32_t>(now_.ns / 1'000'000) + 1;
  options.ts_echo = options_.lie == Lie::forging ? ts_oldest_ : ts_recent_;
  return options;
}

void LiarWorld::send(std::uint8_t flags, std::uint64_t ack, const wire::TcpOptions& options) {
  const support::Addressing to{.source_mac = mac(0, 2),
                               .destination_mac = mac(1, 2),
                               .source = kReceiver,
                               .destination = kServer};
  wire::TcpSegment s;
  s.source_port = kPort;
  s.destination_port = kServerPort;
  const bool syn = (flags & TcpFlags::syn) != 0;
  s.seq = syn ? kIss : kIss + 1;
  s.flags = flags;
  if (!syn) s.ack = iss_ + 1 + static_cast<std::uint32_t>(ack);
  s.window = 65535;
  const support::Bytes frame = support::build_tcp(to, s, support::encode_options(options));
  net::TxFrame out;
  std::copy(frame.begin(), frame.end(), out.head.begin());
  out.head_length = static_cast<std::uint16_t>(frame.size());
  if (link_.nic(1).tx_burst(std::span(&out, 1)) != 1) out_.wrong = "the receiver's ring is full";
  out_.acks += !syn;
}

void LiarWorld::add_sacks(wire::TcpOptions& options) {
  if (!options_.sack) return;
  const std::size_t most = options_.timestamps ? 3 : 4;
  const auto put = [&](std::uint64_t begin, std::uint64_t end) {
    if (options.sack_count < most)
      options.sacks[options.sack_count++] = {iss_ + 1 + static_cast<std::uint32_t>(begin),
                                             iss_ + 1 + static_cast<std::uint32_t>(end)};
  };
  switch (options_.lie) {
    case Lie::absurd:
      for (std::size_t i = 0; i < most; ++i) {
        const std::uint64_t at =
            next_ + random_.below(std::max<std::uint64_t>(highest_ - next_, 1));
        switch (random_.below(5)) {
          case 0:
            put(at + 1000, at);
            break;
          case 1:
            put(highest_ + random_.below(1u << 30), highest_ + random_.below(1u << 31));
            break;
          case 2:
            put(at, at + 1);
            break;
          case 3:
            put(next_ - random_.below(1u << 20), next_);
            break;
          default:
            put(at - random_.below(3000), at + random_.below(100'000));
            break;
        }
      }
      return;
    case Lie::claiming:
      if (highest_ > next_ + kMss) put(next_ + kMss, highest_);
      return;
    case Lie::forging:
      if (resent_end_ != 0) put(resent_begin_, resent_end_);
      break;
    default:
      break;
  }
  // The newest first, then from the highest down (RFC 2018 §4).
  const auto newest = islands_.upper_bound(newest_);
  if (newest != islands_.begin() && std::prev(newest)->second > newest_)
    put(std::prev(newest)->first, std::prev(newest)->second);
  for (auto it = islands_.rbegin(); it != islands_.rend() && options.sack_count < most; ++it) {
    if (it->first > newest_ || it->second <= newest_) put(it->first, it->second);
  }
}

// again: it is a duplicate ACK or fills a hole, so it goes at once.
void LiarWorld::answer(bool again) {
  if (!again && unacked_ < 2 * kMss) {
    if (ack_at_ == Instant::never()) ack_at_ = now_ + Duration::milliseconds(40);
    return;
  }
  unacked_ = 0;
  ack_at_ = Instant::never();
  wire::TcpOptions options = stamped();
  add_sacks(options);
  send(TcpFlags::ack, options_.lie == Lie::concealing ? highest_ : next_, options);
}

void LiarWorld::absorb(std::uint64_t begin, std::uint64_t end) {
  add(islands_, begin, end);
  const auto first = islands_.begin();
  if (first->first > next_) return;
  next_ = std::max(next_, first->second);
  islands_.erase(first);
}

void LiarWorld::lie_more(std::uint64_t next_before) {
  switch (options_.lie) {
    case Lie::divided: {
      const std::uint64_t step = std::max<std::uint64_t>(100, (next_ - next_before) / 200);
      for (std::uint64_t at = next_before + step; at < next_; at += step)
        send(TcpFlags::ack, at, stamped());
    } break;
    case Lie::duplicates:
      for (int i = 0; i < 8; ++i)
        answer(true);
      break;
    case Lie::optimistic:
      // More than a window beyond: not sent when it gets there.
      send(TcpFlags::ack, watch_->highest + (8u << 20) + random_.below(1u << 28), stamped());
      break;
    case Lie::reneging:
      if (islands_.size() > 3 || random_.below(50) == 0) islands_.clear();
      break;
    default:
      break;
  }
}

void LiarWorld::on_data(Instant now, const wire::TcpSegment& segment) {
  const std::uint64_t low = std::uint64_t{segment.seq - iss_ - 1};
  const std::uint64_t begin = low;
  const std::uint64_t end = begin + segment.payload.size();
  if (std::memcmp(segment.payload.data(), BulkHost::content(begin), segment.payload.size()) != 0)
    out_.wrong = "wrong bytes at " + std::to_string(begin);
  if (segment.options.has_timestamps && begin <= next_) ts_recent_ = segment.options.ts_value;
  if (ts_oldest_ == 0) ts_oldest_ = segment.options.ts_value;
  const std::uint64_t fresh = add(ever_, begin, end);
  unique_ += fresh;
  resent_end_ = 0;
  if (begin < highest_) resent_begin_ = begin, resent_end_ = end;
  const bool in_order = begin == next_ && islands_.empty();
  const std::uint64_t next_before = next_;
  highest_ = std::max(highest_, end);
  if (end > next_) absorb(std::max(begin, next_), end);
  newest_ = begin;
  unacked_ += static_cast<std::uint32_t>(segment.payload.size());
  if (options_.lie == Lie::divided) lie_more(next_before);
  answer(!in_order);
  if (options_.lie != Lie::divided) lie_more(next_before);
  (void)now;
}

void LiarWorld::receive(Instant now) {
  net::RxFrame frames[64];
  for (std::size_t count; (count = link_.nic(1).rx_burst(frames)) != 0;) {
    for (const net::RxFrame& frame : std::span(frames).first(count)) {
      const support::Packet p = support::parse_packet(frame.bytes);
      if (!p.is_tcp()) continue;
      if (p.tcp.has(TcpFlags::rst)) {
        out_.wrong = "the server reset the connection";
        return;
      }
      if (p.tcp.has(TcpFlags::syn)) {
        if (synchronised_) continue;
        synchronised_ = true;
        iss_ = p.tcp.seq;
        ts_recent_ = p.tcp.options.ts_value;
        send(TcpFlags::ack, 0, stamped());
      } else if (!p.tcp.payload.empty() && synchronised_) {
        on_data(now, p.tcp);
      }
    }
  }
}

LiarResult LiarWorld::run() {
  wire::TcpOptions syn = stamped();
  syn.mss = kMss;
  syn.window_shift = kShift;
  syn.sack_permitted = options_.sack;
  const Instant end = Instant{} + options_.length;
  bool begun = false;
  for (Instant now{}; now < end && out_.wrong.empty();) {
    now_ = now;
    link_.advance_to(now);
    server_->step(now);
    receive(now);
    if (!begun) send(TcpFlags::syn, 0, syn);
    begun = true;
    if (ack_at_ <= now) answer(true);
    link_.advance_to(now);
    if (!server_->wrong().empty()) out_.wrong = server_->wrong();
    if (!link_.complaint().empty()) out_.wrong = link_.complaint();
    const Instant next = earlier(earlier(server_->next(now), link_.next_event()), ack_at_);
    now = std::max(now + Duration::nanoseconds(1), earlier(next, end));
  }
  server_->stack().validate();
  out_.delivered = next_;
  out_.allocations = server_->allocations();
  out_.nanoseconds_per_ack = out_.acks == 0 ? 0
                                            : static_cast<double>(server_->spent().count()) /
                                                  static_cast<double>(out_.acks);
  return out_;
}

}  // namespace penstock::test
