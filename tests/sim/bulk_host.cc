#include "sim/bulk_host.hh"

#include <algorithm>
#include <cstring>

#include "support/count_allocations.hh"
#include "support/pattern.hh"

namespace penstock::test {
namespace {

// A stream repeats this.
constexpr std::uint64_t kPeriod = 1 << 20;
constexpr std::uint32_t kRunMost = 64 << 10;
constexpr std::uint32_t kBlock = 16 << 10;
constexpr std::uint32_t kHeader = 13;  // of a block: copied

const std::vector<std::byte>& pattern() {
  static const std::vector<std::byte> bytes = [] {
    std::vector<std::byte> out(kPeriod + kRunMost);
    support::fill_pattern(1, 0, std::span(out).first(kPeriod));
    std::copy_n(out.begin(), kRunMost, out.begin() + kPeriod);
    return out;
  }();
  return bytes;
}

}  // namespace

std::size_t WatchedNic::rx_burst(std::span<net::RxFrame> out) {
  const support::PauseCount pause;
  const std::size_t count = nic_.rx_burst(out);
  frames_in_ += count;
  return count;
}

std::size_t WatchedNic::tx_burst(std::span<const net::TxFrame> frames) {
  const support::PauseCount pause;
  return nic_.tx_burst(frames);
}

const std::byte* BulkHost::content(std::uint64_t position) {
  return pattern().data() + position % kPeriod;
}

BulkHost::BulkHost(support::SimLink& link, int side, const BulkOptions& options)
    : link_(link),
      side_(side),
      options_(options),
      nic_(link.nic(side)),
      stack_(std::make_unique<net::Stack>(nic_, options.stack, Instant{})) {
  if (options.shed_every.ns != 0) sheds_next_ = Instant{} + options.shed_every;
}

BulkHost::~BulkHost() {
  // A device is stopped before the memory that it reads goes.
  link_.stop(side_);
}

template <class Call>
auto BulkHost::in_stack(Call call) {
  const std::uint64_t before = support::CountAllocations::counted();
  const auto began = std::chrono::steady_clock::now();
  const support::CountAllocations guard;
  const auto result = call();
  spent_ += std::chrono::steady_clock::now() - began;
  allocations_ += support::CountAllocations::counted() - before;
  return result;
}

std::size_t BulkHost::connect(const Endpoint& remote, std::uint64_t closes_after) {
  Stream stream;
  stream.remote = remote;
  stream.closes_after = closes_after;
  if (!in_stack([&] { return stack_->connect(remote, {}, stream.handle); }))
    wrong_ = "connect() has no handle";
  streams_.push_back(stream);
  return streams_.size() - 1;
}

BulkHost::Stream* BulkHost::find(StreamHandle handle) {
  for (Stream& stream : streams_)
    if (stream.handle == handle) return &stream;
  return nullptr;
}

void BulkHost::on_event(Instant now, const StreamEvent& event) {
  using Kind = StreamEvent::Kind;
  if (event.kind == Kind::released) {
    ++pins_released_;
    return;
  }
  if (event.kind == Kind::need) {
    ++needs_;
    const bool kept = in_stack([&] {
      return stack_->on_content(event.stream, event.pin, event.content,
                                content(event.content.offset));
    });
    pins_given_ += kept;
    return;
  }
  if (event.kind == Kind::accepted) {
    Stream stream;
    stream.handle = event.stream;
    stream.remote = event.endpoint;
    stream.closes_after = options_.closes_after;
    stream.open = true;
    stream.opened = now;
    streams_.push_back(stream);
    return;
  }
  Stream* stream = find(event.stream);
  if (stream == nullptr) {
    wrong_ = "an event of an unknown stream";
    return;
  }
  // Of this burst of events, before we closed it.
  if (stream->closed) return;
  switch (event.kind) {
    case Kind::connected:
      stream->open = true;
      stream->opened = now;
      break;
    case Kind::data: {
      for (std::size_t at = 0; at < event.data.size();) {
        const std::size_t n = std::min<std::size_t>(event.data.size() - at, kRunMost);
        if (std::memcmp(&event.data[at], content(stream->received), n) != 0)
          wrong_ = "wrong bytes before " + std::to_string(stream->received + n);
        stream->received += n;
        at += n;
      }
      if (stream->received < stream->closes_after) break;
      stream->closed = true;
      in_stack([&] { return stack_->close(stream->handle, true), 0; });
      break;
    }
    case Kind::writable:
      stream->blocked = false;
      break;
    case Kind::closed:
      stream->closed = true;
      stream->error = event.error;
      break;
    default:
      break;
  }
}

void BulkHost::send(Stream& stream) {
  // Blocks as the shard sends them: a copied header, and content by reference.
  while (stream.accepted < options_.sends) {
    const std::uint64_t at = stream.accepted;
    const auto length =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(kBlock, options_.sends - at));
    SendPart parts[2];
    parts[0] = {.data = content(at), .length = std::min(kHeader, length)};
    parts[1] = {.data = content(at + kHeader),
                .length = length - parts[0].length,
                .kind = SendPart::Kind::slab,
                .pin = pins_given_ + 1,
                .content = {TorrentSlot(1), length - parts[0].length, at + kHeader}};
    const SendResult result = in_stack([&] {
      return stack_->try_send(stream.handle, std::span(parts).first(length > kHeader ? 2 : 1));
    });
    stream.accepted += result.accepted;
    if (result.accepted > kHeader) ++pins_given_;
    if (result.accepted < length) {
      stream.blocked = true;
      return;
    }
  }
}

void BulkHost::step(Instant now) {
  if (now < due_) return;
  const std::uint64_t frames = nic_.frames_in();
  StreamEvent events[64];
  for (int round = 0; round < 64; ++round) {
    const std::size_t count = in_stack([&] { return stack_->poll_events(now, events); });
    for (const StreamEvent& event : std::span(events).first(count))
      on_event(now, event);
    if (count == 0) break;
  }
  for (Stream& stream : streams_)
    if (stream.open && !stream.closed && !stream.blocked) send(stream);
  if (sheds_next_ <= now) {
    sheds_next_ = now + options_.shed_every;
    in_stack([&] { return stack_->shed_longest_stalled(now); });
  }
  in_stack([&] { return stack_->flush(now), 0; });
  due_ = now + options_.lag +
         options_.frame_cost * static_cast<std::int64_t>(nic_.frames_in() - frames);
}

Instant BulkHost::next(Instant now) const {
  Instant next = earlier(stack_->next_timeout(), sheds_next_);
  if (link_.nic(side_).has_received()) next = now;
  return next == Instant::never() ? next : std::max(next, due_);
}

}  // namespace penstock::test
