#include "fuzz/tcp/application.hh"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/assert.hh"
#include "support/pattern.hh"

namespace penstock::fuzz {

namespace {

constexpr std::uint32_t kBlockHeader = 13;
const TorrentSlot kTorrent(3);

std::vector<std::byte> make_stream(unsigned key) {
  std::vector<std::byte> out(kStreamSize);
  support::fill_pattern(key, 0, out);
  return out;
}

}  // namespace

std::span<const std::byte> stream_bytes(unsigned key) {
  static const std::array<std::vector<std::byte>, 2> kStreams{make_stream(1), make_stream(2)};
  return kStreams[key];
}

Application::Memory Application::copy_of(std::uint32_t begin, std::uint32_t length) const {
  Memory memory(new std::byte[length]);
  std::memcpy(memory.get(), stream_bytes(out_).data() + begin, length);
  return memory;
}

std::size_t Application::write(Instant now, std::uint32_t length, Kind kind) {
  length = std::min(length, kStreamSize - accepted);
  if (length == 0) return 0;
  if (kind == Kind::block && length > kBlockHeader + 1) return write_block(now, length);
  SendPart part;
  // Gone as soon as the call returns.
  const Memory memory = copy_of(accepted, length);
  part.data = memory.get();
  part.length = length;
  if (kind != Kind::small) part.kind = SendPart::Kind::slab;
  const std::size_t taken = connection_->try_send(now, {&part, 1});
  ASSERT(taken <= length && (taken == 0 || !closing));
  accepted += static_cast<std::uint32_t>(taken);
  short_write_ |= taken < length;
  return taken;
}

std::size_t Application::write_block(Instant now, std::uint32_t length) {
  const std::uint64_t pin = next_pin_++;
  Memory header = copy_of(accepted, kBlockHeader);
  const std::uint32_t begin = accepted + kBlockHeader;
  const std::uint32_t content = length - kBlockHeader;
  Memory memory = copy_of(begin, content);
  std::array<SendPart, 3> parts;
  parts[0].data = header.get();
  parts[0].length = kBlockHeader;
  const std::uint32_t first = (content + 1) / 2;
  for (std::size_t i = 1; i < 3; ++i) {
    SendPart& part = parts[i];
    part.data = memory.get() + (i == 1 ? 0 : first);
    part.length = i == 1 ? first : content - first;
    part.kind = SendPart::Kind::hot_slab;
    part.pin = pin;
    part.content = {kTorrent, part.length, begin + (i == 1 ? 0 : first)};
  }
  const std::size_t taken = connection_->try_send(now, parts);
  ASSERT(taken <= length && (taken == 0 || !closing));
  accepted += static_cast<std::uint32_t>(taken);
  short_write_ |= taken < length;
  if (taken > kBlockHeader) {
    // A part of a pin is taken whole.
    ASSERT(taken == length || taken == kBlockHeader + first);
    Pin& mine = pins_[pin];
    mine.begin = begin;
    mine.end = accepted;
    mine.holds = 1;
    mine.memory.push_back(std::move(memory));
  }
  return taken;
}

void Application::read(Instant now, bool on) {
  reading = on;
  connection_->set_reading(now, on);
}

void Application::close(Instant now) {
  closing = true;
  // Then it is forgotten (RFC 9293 §3.10.4).
  if (connection_->state() == tcp::State::syn_sent) aborted = true;
  connection_->close(now);
}

void Application::abort(Instant now) {
  closing = aborted = true;
  connection_->abort(now);
}

void Application::shed() {
  shed_ever_ = true;
  connection_->shed();
}

void Application::answer(Instant now, bool lost) {
  if (needs.empty()) return;
  const Need need = needs.front();
  needs.pop_front();
  if (lost) {
    // Where the connection is over already it isn't what ended it.
    lost_content = lost_content || connection_->state() != tcp::State::closed;
    const bool kept = connection_->on_content(now, need.pin, need.content, nullptr);
    ASSERT(!kept);
    return;
  }
  Memory memory = copy_of(static_cast<std::uint32_t>(need.content.offset), need.content.length);
  if (!connection_->on_content(now, need.pin, need.content, memory.get())) return;
  Pin& pin = pins_[need.pin];
  ++pin.holds;
  pin.memory.push_back(std::move(memory));
}

void Application::drain() {
  tcp::Event event;
  for (int i = 0; connection_->poll_event(event); ++i) {
    ASSERT(i < 100'000);
    on_event(event);
  }
}

void Application::on_event(const tcp::Event& event) {
  using Kind = tcp::Event::Kind;
  ASSERT(!over);
  switch (event.kind) {
    case Kind::connected:
      ASSERT(!connected);
      connected = true;
      break;
    case Kind::data:
      ASSERT(connected && !ended && !event.data.empty());
      ASSERT(event.data.size() <= kStreamSize - delivered);
      ASSERT(std::memcmp(event.data.data(), stream_bytes(in_).data() + delivered,
                         event.data.size()) == 0);
      delivered += static_cast<std::uint32_t>(event.data.size());
      break;
    case Kind::ended:
      ASSERT(connected && !ended);
      ended = true;
      break;
    case Kind::writable:
      ASSERT(short_write_ && !closing);
      short_write_ = false;
      break;
    case Kind::released:
      on_released(event.pin);
      break;
    case Kind::need: {
      ASSERT(shed_ever_);
      const auto pin = pins_.find(event.pin);
      ASSERT(pin != pins_.end() && event.content.torrent == kTorrent && event.content.length > 0);
      ASSERT(event.content.offset >= pin->second.begin &&
             event.content.offset + event.content.length <= pin->second.end);
      needs.push_back({event.pin, event.content});
      break;
    }
    case Kind::closed:
      over = true;
      error = event.error;
      check_ended();
      break;
  }
}

void Application::on_released(std::uint64_t at) {
  const auto pin = pins_.find(at);
  ASSERT(pin != pins_.end() && pin->second.holds > 0);
  // With several, it isn't said which.
  if (--pin->second.holds == 0) pin->second.memory.clear();
}

void Application::check_ended() const {
  ASSERT(over);
  for (const auto& [at, pin] : pins_)
    ASSERT(pin.holds == 0);
}

}  // namespace penstock::fuzz
