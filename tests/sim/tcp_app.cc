#include "sim/tcp_app.hh"

#include <algorithm>

#include "sim/wire_observer.hh"
#include "support/pattern.hh"

namespace penstock::test {
namespace {

constexpr std::byte kScribble{0xdd};

}  // namespace

Leg::Leg(const ConnectionPlan& p, bool is_client, std::uint64_t seed)
    : plan(p), client(is_client), random(seed) {
  acts = progressed = p.starts;
}

std::uint64_t Leg::send_key() const {
  return WireObserver::stream_key(plan.port, client);
}
std::uint64_t Leg::receive_key() const {
  return WireObserver::stream_key(plan.port, !client);
}

TcpApp::TcpApp(net::Stack& stack, const AppOptions& options, std::uint64_t seed)
    : stack_(stack), options_(options), random_(seed) {
  if (options.shed_every.ns != 0) sheds_next_ = Instant{} + draw(options.shed_every * 2);
}

Duration TcpApp::draw(Duration most) {
  return Duration::nanoseconds(static_cast<std::int64_t>(random_.below(most.ns + 1)));
}

void TcpApp::add_client(Leg& leg, const Endpoint& remote) {
  legs_.push_back(&leg);
  remotes_[&leg] = remote;
}

void TcpApp::add_server(Leg& leg) {
  legs_.push_back(&leg);
}

void TcpApp::fail(const Leg* leg, const std::string& text) {
  if (!wrong_.empty()) return;
  wrong_ = leg == nullptr ? text
                          : "connection " + std::to_string(leg->plan.port) +
                                (leg->client ? ", client: " : ", server: ") + text;
}

std::size_t TcpApp::pins_held() const {
  std::size_t held = 0;
  for (const auto& [id, pin] : pins_)
    held += pin.held() != 0;
  return held;
}

std::string TcpApp::pins_text() const {
  std::string text;
  for (const auto& [id, pin] : pins_) {
    if (pin.held() != 0)
      text += " " + std::to_string(id) + " of " + std::to_string(pin.leg->plan.port);
  }
  return text;
}

Instant TcpApp::next() const {
  Instant next = sheds_next_;
  bool live = false;
  for (const Leg* leg : legs_) {
    if (leg->state == Leg::State::closed) continue;
    live = true;
    if (leg->state == Leg::State::waiting && !leg->client) continue;
    next = earlier(next, earlier(leg->acts, leg->resumes));
  }
  if (!live) next = Instant::never();
  for (const Answer& a : answers_)
    next = earlier(next, a.due);
  return next;
}

void TcpApp::step(Instant now) {
  StreamEvent events[32];
  for (std::uint32_t round = 0; round < 10000; ++round) {
    const std::size_t limit = 1 + random_.below(std::size(events));
    const std::size_t count = stack_.poll_events(now, std::span(events).first(limit));
    for (const StreamEvent& event : std::span(events).first(count))
      on_event(now, event);
    for (Leg* leg : legs_)
      leg->stopped_now = false;
    if (count == 0) break;
    if (round == 9999) fail(nullptr, "poll_events never ends");
  }
  answer(now);
  for (Leg* leg : legs_) {
    if (leg->resumes <= now) {
      leg->resumes = Instant::never();
      leg->reading = true;
      leg->progressed = now;
      if (leg->state == Leg::State::open) stack_.set_reading(leg->stream, true);
    }
    if (leg->acts <= now) act(now, *leg);
  }
  if (sheds_next_ <= now) {
    sheds_next_ = now + Duration::microseconds(1) + draw(options_.shed_every * 2);
    sheds_ += stack_.shed_longest_stalled(now);
  }
}

void TcpApp::on_event(Instant now, const StreamEvent& event) {
  using Kind = StreamEvent::Kind;
  if (event.kind == Kind::released) return on_released(event.pin);
  if (event.kind == Kind::need) return on_need(now, event);
  if (event.kind == Kind::accepted) return on_accepted(now, event);
  const auto it = by_stream_.find(event.stream.value);
  if (it == by_stream_.end() && ghosts_.contains(event.stream.value)) return;
  if (it == by_stream_.end()) return fail(nullptr, "an event of a stream that is gone");
  Leg& leg = *it->second;
  leg.progressed = now;
  switch (event.kind) {
    case Kind::connected:
      if (leg.state != Leg::State::connecting) return fail(&leg, "connected twice");
      leg.state = Leg::State::open;
      leg.connected = true;
      leg.acts = now + draw(options_.think_most);
      break;
    case Kind::data:
      on_data(now, leg, event.data);
      break;
    case Kind::writable:
      leg.blocked = false;
      leg.acts = earlier(leg.acts, now);
      break;
    case Kind::closed:
      on_closed(now, leg, event.error);
      break;
    default:
      break;
  }
}

void TcpApp::on_accepted(Instant now, const StreamEvent& event) {
  const auto [first, last] = by_client_port_.equal_range(event.endpoint.port);
  Leg* leg = nullptr;
  bool closed = false;
  for (auto it = first; it != last; ++it) {
    Leg* named = it->second;
    closed = closed || named->state == Leg::State::closed;
    if (named->state != Leg::State::waiting) continue;
    if (leg == nullptr || named->greeted) leg = named;
  }
  if (leg == nullptr && closed) {
    // A late ACK whose cookie is still good makes a connection of the dead.
    ghosts_.insert(event.stream.value);
    return stack_.close(event.stream, false);
  }
  if (leg == nullptr) return fail(nullptr, "accepted a stranger: " + event.endpoint.to_string());
  ghosts_.erase(event.stream.value);
  leg->stream = event.stream;
  leg->state = Leg::State::open;
  leg->acts = now + draw(options_.think_most);
  leg->progressed = now;
  by_stream_[event.stream.value] = leg;
}

void TcpApp::on_data(Instant now, Leg& leg, std::span<const std::byte> data) {
  if (leg.state != Leg::State::open) return fail(&leg, "data before it is open");
  if (data.empty()) return fail(&leg, "data of no length");
  if (!leg.reading && !leg.stopped_now) fail(&leg, "data although reading is off");
  const std::size_t same = support::match_pattern(leg.receive_key(), leg.received, data);
  if (same != data.size()) {
    return fail(&leg, "delivered a wrong byte at " + std::to_string(leg.received + same));
  }
  leg.received += data.size();
  if (leg.received > leg.to_receive()) return fail(&leg, "delivered more than was sent");
  if (leg.all_received()) leg.acts = earlier(leg.acts, now + draw(options_.think_most));
  if (random_.below(1000) < options_.stops_reading) {
    leg.reading = false;
    leg.stopped_now = true;
    leg.resumes = now + draw(options_.stop_most);
    stack_.set_reading(leg.stream, false);
  }
}

void TcpApp::on_released(std::uint64_t id) {
  const auto it = pins_.find(id);
  if (it == pins_.end() || it->second.held() == 0) {
    return fail(nullptr, "released a pin that isn't held: " + std::to_string(id));
  }
  Pin& pin = it->second;
  // Which of them it was isn't said; when it is the last all memory is free.
  if (pin.answers > 0) {
    --pin.answers;
  } else {
    pin.written = false;
  }
  if (pin.held() != 0 || pin.unsent > 0) return;
  for (support::Bytes& memory : pin.memory)
    std::fill(memory.begin(), memory.end(), kScribble);
  pins_.erase(it);
}

void TcpApp::on_need(Instant now, const StreamEvent& event) {
  ++needs_;
  Leg* leg = nullptr;
  for (Leg* l : legs_) {
    if (l->state != Leg::State::waiting && l->stream == event.stream) leg = l;
  }
  if (leg == nullptr) return fail(nullptr, "need of an unknown stream");
  if (event.content.torrent.value != leg->send_key()) return fail(leg, "need of another's content");
  const std::uint64_t end = event.content.offset + event.content.length;
  if (event.content.length == 0 || end > leg->accepted) {
    return fail(leg, "need of what wasn't sent");
  }
  answers_.push_back(
      {now + draw(options_.content_most), event.stream, event.pin, event.content, leg});
}

void TcpApp::answer(Instant now) {
  for (std::size_t i = 0; i < answers_.size();) {
    if (answers_[i].due > now) {
      ++i;
      continue;
    }
    const Answer a = answers_[i];
    answers_.erase(answers_.begin() + static_cast<std::ptrdiff_t>(i));
    if (random_.below(1000) < options_.content_lost) {
      a.leg->content_lost = true;
      stack_.on_content(a.stream, a.pin, a.content, nullptr);
      continue;
    }
    // Other bytes of the block may still be kept under the same pin.
    Pin& pin = pins_[a.pin];
    pin.key = a.leg->send_key();
    pin.leg = a.leg;
    support::Bytes& memory = pin.memory.emplace_back(a.content.length);
    support::fill_pattern(pin.key, a.content.offset, memory);
    if (stack_.on_content(a.stream, a.pin, a.content, memory.data())) {
      ++pin.answers;
      continue;
    }
    // Nobody wants it any more: it isn't kept.
    std::fill(memory.begin(), memory.end(), kScribble);
    if (pin.held() == 0 && pin.unsent == 0) pins_.erase(a.pin);
  }
}

void TcpApp::on_closed(Instant now, Leg& leg, StreamError error) {
  by_stream_.erase(leg.stream.value);
  leg.state = Leg::State::closed;
  leg.error = error;
  leg.progressed = now;
  leg.acts = leg.resumes = Instant::never();
  drop_parts(leg);
}

// What was never accepted goes with the stream.
void TcpApp::drop_parts(Leg& leg) {
  leg.parts.clear();
  for (auto it = pins_.begin(); it != pins_.end();) {
    Pin& pin = it->second;
    if (pin.leg == &leg) pin.unsent = 0;
    it = pin.leg == &leg && pin.held() == 0 ? pins_.erase(it) : std::next(it);
  }
}

void TcpApp::act(Instant now, Leg& leg) {
  leg.acts = Instant::never();
  if (leg.state == Leg::State::waiting && leg.client) {
    if (!stack_.connect(remotes_[&leg], IpAddress{}, leg.stream)) {
      return fail(&leg, "connect: no handle");
    }
    leg.state = Leg::State::connecting;
    leg.progressed = now;
    by_stream_[leg.stream.value] = &leg;
  }
  if (leg.state == Leg::State::connecting || leg.state == Leg::State::open) {
    const bool mine = leg.plan.closes[leg.client ? 0 : 1];
    if (leg.plan.kind == ConnectionPlan::Kind::abort && mine) {
      if (leg.plan.aborts <= now) return close(now, leg, false);
      leg.acts = leg.plan.aborts;
    }
  }
  if (leg.state != Leg::State::open) return;
  write(now, leg);
  const bool mine = leg.plan.closes[leg.client ? 0 : 1];
  if (!mine || leg.plan.kind == ConnectionPlan::Kind::abort || !leg.all_sent()) return;
  if (leg.plan.kind == ConnectionPlan::Kind::exchange && !leg.all_received()) return;
  close(now, leg, true);
}

void TcpApp::close(Instant now, Leg& leg, bool graceful) {
  by_stream_.erase(leg.stream.value);
  stack_.close(leg.stream, graceful);
  leg.closed_by_us = true;
  leg.state = Leg::State::closed;
  leg.progressed = now;
  leg.acts = leg.resumes = Instant::never();
  drop_parts(leg);
}

void TcpApp::add_pinned(Leg& leg, std::uint64_t length) {
  const std::uint64_t id = next_pin_++;
  Pin& pin = pins_[id];
  pin.key = leg.send_key();
  pin.leg = &leg;
  pin.unsent = length;
  support::Bytes& memory = pin.memory.emplace_back(length);
  support::fill_pattern(pin.key, leg.planned, memory);
  const std::uint64_t cuts = 1 + leg.random.below(3);
  std::uint64_t at = 0;
  for (std::uint64_t c = 0; c < cuts && at < length; ++c) {
    const std::uint64_t n = c + 1 == cuts ? length - at : 1 + leg.random.below(length - at);
    Leg::Part part;
    part.part.data = memory.data() + at;
    part.part.length = static_cast<std::uint32_t>(n);
    part.part.kind = leg.random.below(2) == 0 ? SendPart::Kind::slab : SendPart::Kind::hot_slab;
    part.part.pin = id;
    part.part.content = {TorrentSlot(static_cast<decltype(TorrentSlot::value)>(pin.key)),
                         static_cast<std::uint32_t>(n), leg.planned + at};
    part.position = leg.planned + at;
    leg.parts.push_back(part);
    at += n;
  }
  leg.planned += length;
}

// Composes what is to be written next: a header and a block, or something of any size.
void TcpApp::plan_write(Leg& leg) {
  const std::uint64_t left = leg.to_send() - leg.planned;
  if (left == 0) return;
  const auto add_copied = [&leg](std::uint64_t length, SendPart::Kind kind) {
    Leg::Part part;
    part.copy = std::make_shared<support::Bytes>(length);
    support::fill_pattern(leg.send_key(), leg.planned, *part.copy);
    part.part.data = part.copy->data();
    part.part.length = static_cast<std::uint32_t>(length);
    part.part.kind = kind;
    part.position = leg.planned;
    leg.parts.push_back(part);
    leg.planned += length;
  };
  const std::uint64_t most =
      std::min<std::uint64_t>(left, 1 + leg.random.below(options_.write_most));
  if (leg.random.below(1000) < options_.pinned) {
    const std::uint64_t header = std::min<std::uint64_t>(most, leg.random.below(20));
    if (header > 0) add_copied(header, SendPart::Kind::small);
    std::uint64_t body = most - header;
    while (body > 0) {
      const std::uint64_t n = std::min<std::uint64_t>(body, 1 + leg.random.below(16384));
      add_pinned(leg, n);
      body -= n;
    }
  } else {
    const bool slab = leg.random.below(4) == 0;
    std::uint64_t body = slab ? most : std::min<std::uint64_t>(most, 1 + leg.random.below(3000));
    while (body > 0) {
      const std::uint64_t n = std::min<std::uint64_t>(body, 1 + leg.random.below(8192));
      add_copied(n, slab ? SendPart::Kind::slab : SendPart::Kind::small);
      body -= n;
    }
  }
}

void TcpApp::write(Instant now, Leg& leg) {
  if (leg.blocked && leg.random.below(8) != 0) return;
  if (leg.parts.empty()) plan_write(leg);
  if (leg.parts.empty()) return;
  SendPart parts[kSendPartsMax];
  const std::size_t count = std::min(leg.parts.size(), kSendPartsMax);
  std::size_t offered = 0;
  for (std::size_t i = 0; i < count; ++i) {
    parts[i] = leg.parts[i].part;
    offered += parts[i].length;
  }
  const SendResult result = stack_.try_send(leg.stream, std::span(parts).first(count));
  if (result.accepted > offered) return fail(&leg, "try_send took more than there is");
  leg.accepted += result.accepted;
  if (result.accepted > 0) leg.progressed = now;
  std::size_t left = result.accepted;
  while (left > 0) {
    SendPart& part = leg.parts.front().part;
    const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(left, part.length));
    if (part.pin != 0) {
      Pin& pin = pins_[part.pin];
      pin.written = true;
      pin.unsent -= n;
    }
    left -= n;
    part.data += n;
    part.length -= n;
    part.content.offset += n;
    part.content.length -= n;
    if (part.length == 0) leg.parts.pop_front();
  }
  leg.blocked = result.accepted < offered;
  if (!leg.blocked) leg.acts = now + draw(options_.think_most);
}

}  // namespace penstock::test
