#include "packet/runner.hh"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "packet/names.hh"
#include "support/pattern.hh"

namespace penstock::test {
namespace {

using support::Bytes;
using support::Packet;
using wire::TcpFlags;

constexpr Duration kTolerance = Duration::milliseconds(1);
constexpr Duration kAnyTime = Duration::seconds(1000);
constexpr std::uint16_t kListenPort = 80;
constexpr std::uint32_t kRemoteIss = 0xfffffc18;           // wraps after 1,000 bytes
constexpr std::uint64_t kOurStream = 2, kTheirStream = 1;  // keys of the patterns

class Capture final : public support::LinkTap {
 public:
  explicit Capture(support::PcapngWriter& file) : file_(file) { file.add_interface("stack"); }
  void on_sent(Instant now, int side, std::span<const std::byte> frame, const char*) override {
    file_.write(now, 0, side == 0, frame, "");
  }
  void on_received(Instant, int, std::span<const std::byte>, bool) override {}

 private:
  support::PcapngWriter& file_;
};

bool number_of(const std::string& text, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

Runner::Runner(const RunOptions& options) : options_(options) {}
Runner::~Runner() = default;

// --- set-up ---

std::string Runner::set_up(const Script& script) {
  nic_.mac.bytes = {2, 0, 0, 0, 0, 1};
  nic_.tx_ring = nic_.rx_ring = 1 << 16;
  if (options_.tso) {
    nic_.tx_checksum = true;
    nic_.tso_bytes_max = 64 * 1024 - 512;
  }
  if (options_.v6) {
    local_.bytes = {0xfd, 0, 0, 1};
    local_.bytes[15] = 1;
    remote_ = local_;
    remote_.bytes[15] = 2;
  } else {
    local_ = IpAddress::v4(192, 168, 0, 1);
    remote_ = IpAddress::v4(192, 168, 0, 2);
  }
  const auto prefix = static_cast<std::uint8_t>(options_.v6 ? 64 : 24);
  stack_options_.interfaces = {{local_, prefix, {}}};
  stack_options_.listen = {kListenPort};
  stack_options_.connections_max = 16;
  stack_options_.syn_backlog = 8;
  stack_options_.secret = {1, 2};
  stack_options_.ecn = false;
  for (const auto& [name, value] : script.options) {
    if (name == "states" || name == "ip-version") continue;
    std::uint64_t number = 0;
    if (!number_of(value, number)) return script.file + ": --" + name + ": not a number";
    if (name == "mtu") {
      nic_.mtu = static_cast<std::uint16_t>(number);
    } else if (name == "listen") {
      stack_options_.listen.clear();
      if (number != 0) stack_options_.listen = {kListenPort};
    } else if (name == "backlog") {
      stack_options_.syn_backlog = static_cast<std::uint32_t>(number);
    } else if (name == "window") {
      stack_options_.receive_window = static_cast<std::uint32_t>(number);
    } else if (name == "send-buffer") {
      stack_options_.send_buffer = static_cast<std::uint32_t>(number);
    } else if (name == "ecn") {
      stack_options_.ecn = number != 0;
    } else if (name == "connections") {
      stack_options_.connections_max = static_cast<std::uint32_t>(number);
    } else {
      return script.file + ": unknown option --" + name;
    }
  }
  stack_options_.receive_window_first =
      std::min(stack_options_.receive_window_first, stack_options_.receive_window);
  support::NicOptions peer;
  peer.mac.bytes = {2, 0, 0, 0, 0, 2};
  peer.mtu = 65535;
  peer.tx_ring = peer.rx_ring = 1 << 16;
  support::PathOptions path;
  path.delay = {};
  link_ = std::make_unique<support::SimLink>(1, nic_, peer, path, path);
  if (options_.pcap != nullptr) {
    capture_ = std::make_unique<Capture>(*options_.pcap);
    link_->add_tap(*capture_);
  }
  // Away from zero, so that nothing depends on it.
  now_ = last_ = Instant{} + Duration::seconds(1000);
  link_->advance_to(now_);
  stack_ = std::make_unique<net::Stack>(link_->nic(0), stack_options_, now_);
  return {};
}

std::string Runner::load_state(const std::string& name, Script& out) const {
  std::string error;
  if (!parse_script(options_.states + "/" + name + ".pkt", out, error)) return error;
  return {};
}

// From here on numbers count from where both sides stand.
void Runner::rebase() {
  for (auto& [index, f] : flows_) {
    f.remote_base = f.remote_next;
    f.local_base = f.local_next;
  }
}

std::string Runner::run(const Script& script) {
  Script merged = script;
  Script prologue;
  if (!options_.state.empty()) {
    if (std::string error = load_state(options_.state, prologue); !error.empty()) return error;
    for (const auto& option : prologue.options)
      merged.options.insert(merged.options.begin(), option);
  }
  if (std::string error = set_up(merged); !error.empty()) return error;
  if (!options_.state.empty()) {
    const std::string error = run_commands(prologue);
    if (!error.empty()) return error;
    rebase();
  }
  std::string error = run_commands(merged);
  if (!error.empty()) return error;
  for (const auto& [index, f] : flows_) {
    for (const std::string& event : f.events) {
      if (event.rfind("closed", 0) == 0) return script.file + ": end: unexpected event: " + event;
    }
  }
  return {};
}

std::string Runner::run_commands(const Script& script) {
  for (const Command& command : script.commands) {
    if (command.kind == Command::Kind::call && command.words[0] == "include") {
      Script other;
      if (std::string error = load_state(command.words.at(1), other); !error.empty()) return error;
      if (std::string error = run_commands(other); !error.empty()) return error;
      continue;
    }
    const std::string error = run_command(command);
    if (error.empty()) continue;
    return command.file + ":" + std::to_string(command.line) + ": " + error +
           "\n    in: " + command.text;
  }
  if (!sent_.empty()) return script.file + ": end: " + unexpected();
  return {};
}

std::string Runner::run_command(const Command& command) {
  std::string error;
  if (command.kind == Command::Kind::outbound) {
    error = expect_packet(command);
  } else {
    const Instant at = last_ + command.from;
    run_until(at, false);
    // What the application sees at the same time may be looked at in any order.
    const bool looks = command.kind == Command::Kind::call && command.from.ns == 0 &&
                       (command.words[0] == "accept" || command.words[0] == "read" ||
                        command.words[0] == "expect" || command.words[0] == "ignore");
    if (!looks && !sent_.empty()) return unexpected();
    last_ = at;
    error = command.kind == Command::Kind::inbound ? inject(command) : call(command);
    // What it makes the stack do happens at once.
    if (error.empty()) run_until(now_, false);
  }
  if (!error.empty()) return error;
  if (!wrong_.empty()) return wrong_;
  return link_->complaint();
}

// --- time ---

void Runner::cycle() {
  link_->advance_to(now_);
  take_sent();
  take_events();
  stack_->flush(now_);
  link_->advance_to(now_);
  take_sent();
}

void Runner::run_until(Instant until, bool stop_when_sent) {
  for (std::uint32_t at_once = 0; wrong_.empty();) {
    cycle();
    stack_->validate();
    if (stop_when_sent && !sent_.empty()) return;
    Instant next = earlier(link_->next_event(), stack_->next_timeout());
    if (link_->nic(0).has_received()) next = now_;
    if (next > until) break;
    at_once = next <= now_ ? at_once + 1 : 0;
    if (at_once > 1000) wrong_ = "time stands still at " + support::describe(now_);
    now_ = std::max(now_, next);
  }
  now_ = std::max(now_, until);
}

void Runner::take_sent() {
  net::RxFrame frames[16];
  for (std::size_t count; (count = link_->nic(1).rx_burst(frames)) != 0;) {
    for (std::size_t i = 0; i < count; ++i) {
      Bytes answer;
      const wire::MacAddress mac{{2, 0, 0, 0, 0, 2}};
      if (support::answer_neighbour(frames[i].bytes, remote_, mac, answer)) {
        put(answer);
        continue;
      }
      // Of neighbour discovery only what the script's host is asked concerns it.
      const Packet p = support::parse_packet(frames[i].bytes);
      if (p.version == 0 ||
          (p.version == 6 && p.protocol == support::kProtocolIcmp6 && !p.transport.empty() &&
           p.transport[0] >= std::byte{133} && p.transport[0] <= std::byte{137})) {
        continue;
      }
      if (p.is_tcp()) {
        if (Flow* f = flow_of(p); f != nullptr) learn(p, *f);
      }
      sent_.push_back({now_, Bytes(frames[i].bytes.begin(), frames[i].bytes.end())});
    }
    link_->advance_to(now_);
  }
}

void Runner::take_events() {
  StreamEvent events[16];
  for (std::size_t count; (count = stack_->poll_events(now_, events)) != 0;) {
    for (const StreamEvent& event : std::span(events).first(count))
      on_event(event);
  }
}

void Runner::on_event(const StreamEvent& event) {
  using Kind = StreamEvent::Kind;
  if (event.kind == Kind::released) {
    if (pins_.erase(event.pin) == 0) wrong_ = "released a pin that isn't held";
    for (auto& [index, f] : flows_) {
      if (f.stream == event.stream) f.events.emplace_back("released");
    }
    return;
  }
  if (event.kind == Kind::accepted) {
    for (auto& [index, f] : flows_) {
      if (f.remote_port != event.endpoint.port) continue;
      f.stream = event.stream;
      f.has_stream = true;
      f.events.emplace_back("accepted");
      return;
    }
    wrong_ = "accepted a stranger: " + event.endpoint.to_string();
    return;
  }
  for (auto& [index, f] : flows_) {
    // What is kept may be needed after the application is done with the stream.
    if (f.stream != event.stream || (!f.has_stream && event.kind != Kind::need)) continue;
    if (event.kind == Kind::data) {
      const std::size_t same = support::match_pattern(kTheirStream, f.delivered, event.data);
      if (same != event.data.size()) {
        wrong_ = "a wrong byte was delivered at " + std::to_string(f.delivered + same);
      }
      f.delivered += event.data.size();
      f.unread += event.data.size();
      return;
    }
    if (event.kind == Kind::need) f.needs.push_back({event.pin, event.content});
    f.events.push_back(name_of(event));
    if (event.kind == Kind::closed) f.has_stream = false;
    return;
  }
}

// --- flows ---

Runner::Flow& Runner::flow(int index) {
  auto [it, fresh] = flows_.try_emplace(index);
  Flow& f = it->second;
  if (fresh) {
    f.remote_port = static_cast<std::uint16_t>(40000 + index);
    f.local_port = kListenPort;
    f.remote_iss = f.remote_base = f.remote_next = SeqNumber(kRemoteIss);
    // Until a SYN of ours tells it: what a script acknowledges has to be some number.
    f.local_iss = f.local_base = f.local_next = SeqNumber(0x12345678);
  }
  return f;
}

Runner::Flow* Runner::flow_of(const Packet& p) {
  for (auto& [index, f] : flows_) {
    if (f.remote_port == p.tcp.destination_port &&
        (f.local_port == p.tcp.source_port || f.local_port == 0)) {
      return &f;
    }
  }
  return nullptr;
}

void Runner::learn(const Packet& p, Flow& f) {
  const wire::TcpSegment& s = p.tcp;
  f.local_port = s.source_port;
  if (s.has(TcpFlags::syn) && (!f.local_known || s.seq != f.local_iss)) {
    f.local_iss = f.local_base = f.local_next = s.seq;
    f.local_known = true;
    f.ts_known = false;
  }
  if (s.options.has_timestamps && !f.ts_known) {
    f.ts_known = true;
    f.ts_base = s.options.ts_value;
  }
  if (!s.has(TcpFlags::rst)) f.local_next = later(f.local_next, s.seq + s.length());
}

support::Addressing Runner::addressing() const {
  return {.source_mac = {{2, 0, 0, 0, 0, 2}},
          .destination_mac = nic_.mac,
          .source = remote_,
          .destination = local_};
}

// --- packets in ---

void Runner::put(const Bytes& frame) {
  net::TxFrame out;
  const std::size_t head = std::min<std::size_t>(frame.size(), net::kHeadMax);
  std::copy_n(frame.begin(), head, out.head.begin());
  out.head_length = static_cast<std::uint16_t>(head);
  if (frame.size() > head) {
    out.parts[0] = {frame.data() + head, static_cast<std::uint32_t>(frame.size() - head), nullptr};
    out.part_count = 1;
  }
  link_->nic(1).tx_burst(std::span(&out, 1));
}

Bytes Runner::build(const PacketPattern& pattern, Flow& f) {
  const bool v6 = options_.v6;
  wire::TcpSegment s;
  s.source_port = f.remote_port;
  s.destination_port = f.local_port;
  s.seq = f.remote_base + pattern.seq.value(v6);
  s.flags = pattern.flags;
  if (pattern.ack.given) s.ack = f.local_base + pattern.ack.value(v6);
  s.window = static_cast<std::uint16_t>(pattern.window.given ? pattern.window.value(v6) : 65535);
  Bytes payload(pattern.length.value(v6));
  support::fill_pattern(kTheirStream, (s.seq + s.has(TcpFlags::syn)) - f.remote_iss - 1, payload);
  if (pattern.bad_bytes) {
    for (std::byte& b : payload)
      b ^= std::byte{0xff};
  }
  s.payload = payload;
  wire::TcpOptions& o = s.options;
  const OptionList& list = pattern.options;
  if (list.mss.given) o.mss = static_cast<std::uint16_t>(list.mss.value(v6));
  if (list.shift.given) o.window_shift = static_cast<std::uint8_t>(list.shift.value(v6));
  o.sack_permitted = list.sack_permitted;
  o.has_timestamps = list.has_timestamps;
  o.ts_value = list.ts_value.value(v6);
  o.ts_echo = list.ts_echo.value(v6) + (s.has(TcpFlags::ack) ? f.ts_base : 0);
  for (const auto& block : list.sacks) {
    o.sacks[o.sack_count++] = {f.local_base + block[0].value(v6),
                               f.local_base + block[1].value(v6)};
  }
  Bytes options = support::encode_options(o);
  for (const std::uint8_t byte : list.raw)
    options.push_back(std::byte{byte});
  support::Addressing to = addressing();
  if (pattern.ecn > 0) to.ecn = static_cast<std::uint8_t>(pattern.ecn);
  Bytes frame = support::build_tcp(to, s, options);
  if (pattern.bad_checksum)
    frame[frame.size() - payload.size() - options.size() - 4] ^= std::byte{1};
  if (!s.has(TcpFlags::rst)) f.remote_next = later(f.remote_next, s.seq + s.length());
  return frame;
}

Bytes Runner::build_icmp(const PacketPattern& pattern, Flow& f) {
  // Quotes a segment of ours, as a router saw it.
  wire::TcpSegment s;
  s.source_port = f.local_port;
  s.destination_port = f.remote_port;
  s.seq = f.local_base + pattern.quoted.value(options_.v6);
  s.ack = f.remote_next;
  s.flags = TcpFlags::ack;
  support::Addressing ours = addressing();
  std::swap(ours.source, ours.destination);
  const Bytes quoted = support::build_tcp(ours, s, {});
  const auto packet = std::span<const std::byte>(quoted).subspan(support::kEthernetSize);
  support::Addressing to = addressing();
  if (pattern.icmp_name == "frag_needed") {
    return support::build_too_big(to, static_cast<std::uint16_t>(pattern.mtu.value(options_.v6)),
                                  packet, packet.size());
  }
  const IcmpCode code = icmp_code(pattern.icmp_name, options_.v6);
  Bytes body(4);
  body.insert(body.end(), packet.begin(), packet.end());
  return support::build_icmp(to, code.type, code.code, body);
}

std::string Runner::inject(const Command& command) {
  Flow& f = flow(command.flow);
  const PacketPattern& p = command.packet;
  if (p.icmp) {
    if (p.icmp_name != "frag_needed" && icmp_code(p.icmp_name, options_.v6).type == 0) {
      return "an ICMP message that isn't known";
    }
    put(build_icmp(p, f));
    return {};
  }
  const bool v6 = options_.v6;
  if (!p.seq.given || p.seq.any || p.seq.value(v6) + p.length.value(v6) != p.end.value(v6)) {
    return "end and length don't agree";
  }
  put(build(p, f));
  return {};
}

// --- packets out ---

std::string Runner::tell(const Sent& sent) {
  const Packet p = support::parse_packet(sent.frame);
  const Flow* f = p.is_tcp() ? flow_of(p) : nullptr;
  std::string text = support::describe(sent.at + Duration{-last_.ns});
  return "+" + text + " " +
         (f == nullptr ? support::describe(p)
                       : support::describe(p, f->local_base, f->remote_base));
}

std::string Runner::unexpected() {
  return "nothing was expected, got " + tell(sent_.front());
}

std::string Runner::expect_packet(const Command& command) {
  const Duration least =
      command.ranged || command.from.ns == 0 ? command.from : command.from - kTolerance;
  Instant from = last_ + least;
  Instant to = last_ + command.to + (command.ranged ? Duration{} : kTolerance);
  if (command.any_time) from = last_, to = last_ + kAnyTime;
  if (sent_.empty()) run_until(to, true);
  if (!wrong_.empty()) return wrong_;
  if (sent_.empty()) {
    return "expected a packet until +" + support::describe(to + Duration{-last_.ns}) + ", got none";
  }
  const Sent sent = std::move(sent_.front());
  sent_.pop_front();
  if (sent.at < from || sent.at > to) return "not at this time: " + tell(sent);
  const Packet p = support::parse_packet(sent.frame);
  std::string why;
  if (p.problem != nullptr) {
    why = p.problem;
  } else if (!p.checksums_good()) {
    why = "a bad checksum";
  } else if (command.packet.icmp) {
    why = compare_icmp(command.packet, p);
  } else if (!p.is_tcp()) {
    why = "no TCP";
  } else if (flow_of(p) != &flow(command.flow)) {
    why = "another connection's";
  } else {
    why = compare(command.packet, p, flow(command.flow));
  }
  if (!why.empty()) return why + ": got " + tell(sent);
  last_ = sent.at;
  return {};
}

std::string Runner::compare_icmp(const PacketPattern& pattern, const Packet& p) {
  const IcmpCode code = icmp_code(pattern.icmp_name, options_.v6);
  if (p.protocol != (options_.v6 ? support::kProtocolIcmp6 : support::kProtocolIcmp)) {
    return "expected ICMP";
  }
  if (p.transport.size() < 8 || p.transport[0] != std::byte{code.type} ||
      p.transport[1] != std::byte{code.code}) {
    return "expected ICMP " + pattern.icmp_name;
  }
  return {};
}

std::string Runner::compare(const PacketPattern& pattern, const Packet& p, Flow& f) {
  const wire::TcpSegment& s = p.tcp;
  const bool v6 = options_.v6;
  const std::uint8_t mask = pattern.push_given ? 0xff : 0xff & ~TcpFlags::psh;
  if ((s.flags & mask) != (pattern.flags & mask)) {
    return "expected the flags " + support::describe_flags(pattern.flags);
  }
  if (!pattern.seq.fits(s.seq - f.local_base, v6)) return "expected another sequence number";
  if (!pattern.length.fits(static_cast<std::uint32_t>(s.payload.size()), v6)) {
    return "expected another length";
  }
  if (pattern.ack.given && !pattern.ack.fits(s.ack - f.remote_base, v6)) {
    return "expected another ACK";
  }
  if (!pattern.window.fits(s.window, v6)) return "expected another window";
  if (pattern.ecn >= 0 && pattern.ecn != p.ecn) return "expected another ECN codepoint";
  const std::uint64_t at = s.seq - f.local_iss - 1;
  if (!s.payload.empty() && support::match_pattern(kOurStream, at, s.payload) != s.payload.size()) {
    return "wrong bytes";
  }
  if (p.options_malformed) return "malformed options";
  return pattern.options.given ? compare_options(pattern.options, s.options, f) : std::string{};
}

std::string Runner::compare_options(const OptionList& want, const wire::TcpOptions& got, Flow& f) {
  const bool v6 = options_.v6;
  const auto differs = [&want](bool wanted, bool there) {
    return wanted ? !there : there && !want.open;
  };
  if (differs(want.mss.given, got.mss != 0) || (got.mss != 0 && !want.mss.fits(got.mss, v6))) {
    return "expected another MSS option";
  }
  const bool scaled = got.window_shift != wire::kNoWindowShift;
  if (differs(want.shift.given, scaled) || (scaled && !want.shift.fits(got.window_shift, v6))) {
    return "expected another window scale option";
  }
  if (differs(want.sack_permitted, got.sack_permitted)) return "expected sackOK otherwise";
  if (differs(want.has_timestamps, got.has_timestamps)) return "expected timestamps otherwise";
  if (want.has_timestamps &&
      (!want.ts_value.fits(got.ts_value - f.ts_base, v6) || !want.ts_echo.fits(got.ts_echo, v6))) {
    return "expected other timestamps (val " + std::to_string(got.ts_value - f.ts_base) + ")";
  }
  if (differs(want.has_sacks, got.sack_count != 0)) return "expected SACK blocks otherwise";
  if (!want.has_sacks || want.any_sacks) return {};
  if (want.sacks.size() != got.sack_count) return "expected another number of SACK blocks";
  for (std::size_t i = 0; i < want.sacks.size(); ++i) {
    if (!want.sacks[i][0].fits(got.sacks[i].begin - f.remote_base, v6) ||
        !want.sacks[i][1].fits(got.sacks[i].end - f.remote_base, v6)) {
      return "expected other SACK blocks";
    }
  }
  return {};
}

// --- calls ---

std::string Runner::call(const Command& command) {
  const std::string& name = command.words[0];
  Flow& f = flow(command.flow);
  std::uint64_t number = 0;
  const bool numbered = command.words.size() > 1 && number_of(command.words[1], number);
  if (name == "quiet" || name == "listen") return {};
  if (name == "ignore") {
    if (!numbered) return "ignore SECONDS";
    run_until(now_ + Duration::seconds(static_cast<std::int64_t>(number)), false);
    sent_.clear();
    last_ = now_;
    return {};
  }
  if (name == "shed") {
    return stack_->shed_longest_stalled(now_) ? std::string{} : "nothing was shed";
  }
  if (name == "rebase") return rebase(), std::string{};
  if (name == "connect") {
    f.remote_port = static_cast<std::uint16_t>(8080 + command.flow);
    f.local_port = 0;
    if (!stack_->connect({remote_, f.remote_port}, {}, f.stream)) return "connect: refused";
    f.has_stream = true;
    return {};
  }
  if (name == "accept") {
    if (f.events.empty() || f.events.front() != "accepted") return "nothing was accepted";
    f.events.pop_front();
    return {};
  }
  if (name == "expect") return call_expect(command, f);
  if (name == "read") {
    if (!numbered) return "read N";
    if (f.unread != number) return "there are " + std::to_string(f.unread) + " bytes to read";
    f.unread = 0;
    return {};
  }
  if (name == "content") return call_content(command, f);
  if (!f.has_stream) return "there is no stream";
  if (name == "write") return call_write(command, f);
  if (name == "reading") {
    stack_->set_reading(f.stream, command.words.at(1) == "on");
  } else if (name == "close" || name == "abort") {
    stack_->close(f.stream, name == "close");
  } else {
    return "an unknown word: " + name;
  }
  return {};
}

// "write N [small|slab|pinned] [= ACCEPTED]"
std::string Runner::call_write(const Command& command, Flow& f) {
  std::uint64_t length = 0, accepted = 0;
  if (command.words.size() < 2 || !number_of(command.words[1], length)) return "write N";
  accepted = length;
  bool pinned = false;
  SendPart part;
  for (std::size_t i = 2; i < command.words.size(); ++i) {
    if (command.words[i] == "pinned") {
      pinned = true;
    } else if (command.words[i] == "slab") {
      part.kind = SendPart::Kind::slab;
    } else if (command.words[i] == "=" && i + 1 < command.words.size()) {
      if (!number_of(command.words[++i], accepted)) return "write N = M";
    } else {
      return "an unknown word: " + command.words[i];
    }
  }
  Bytes copy(length);
  support::fill_pattern(kOurStream, f.written, copy);
  part.data = copy.data();
  part.length = static_cast<std::uint32_t>(length);
  if (pinned) {
    part.kind = SendPart::Kind::slab;
    part.pin = next_pin_++;
    part.content = {TorrentSlot(1), part.length, f.written};
    part.data = pins_[part.pin].emplace_back(copy).data();
  }
  const SendResult result = stack_->try_send(f.stream, std::span(&part, 1));
  if (result.accepted != accepted) {
    return "expected " + std::to_string(accepted) + " bytes to be taken, got " +
           std::to_string(result.accepted);
  }
  if (result.accepted == 0) pins_.erase(part.pin);
  f.written += result.accepted;
  return {};
}

// "expect EVENT…": the next event of that kind, whatever other kinds came before it; "expect
// nothing".
std::string Runner::call_expect(const Command& command, Flow& f) {
  std::string want;
  for (std::size_t i = 1; i < command.words.size(); ++i)
    want += (i > 1 ? " " : "") + command.words[i];
  std::string all;
  for (const std::string& event : f.events)
    all += (all.empty() ? "" : ", ") + event;
  if (want == "nothing") return all.empty() ? std::string{} : "expected nothing, got " + all;
  const auto it = std::find(f.events.begin(), f.events.end(), want);
  if (it == f.events.end()) {
    return "expected the event " + want + ", got " + (all.empty() ? "none" : all);
  }
  f.events.erase(f.events.begin(), it + 1);
  return {};
}

// "content" answers the oldest need; "content lost" has nothing; "content unwanted" comes too late.
std::string Runner::call_content(const Command& command, Flow& f) {
  if (f.needs.empty()) return "nothing is needed";
  const Flow::Need need = f.needs.front();
  f.needs.pop_front();
  if (command.words.size() > 1 && command.words[1] == "lost") {
    stack_->on_content(f.stream, need.pin, need.content, nullptr);
    return {};
  }
  std::vector<Bytes>& memory = pins_[need.pin];
  Bytes& bytes = memory.emplace_back(need.content.length);
  support::fill_pattern(kOurStream, need.content.offset, bytes);
  if (stack_->on_content(f.stream, need.pin, need.content, bytes.data())) return {};
  memory.pop_back();
  if (memory.empty()) pins_.erase(need.pin);
  return command.words.size() > 1 && command.words[1] == "unwanted" ? ""
                                                                    : "the content isn't wanted";
}

}  // namespace penstock::test
