// What the load generator's tests share: small torrents, and both ends of its streams.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "crypto/sha.hh"
#include "shard/load/link.hh"
#include "stream/byte_stream.hh"
#include "wire/metainfo.hh"

namespace penstock {

// The byte of every test torrent at an offset of its piece space.
inline std::byte content_at(std::uint64_t offset) {
  return static_cast<std::byte>((offset * 131 + (offset >> 8) * 7) & 0xff);
}

inline std::vector<std::byte> content(std::uint64_t offset, std::uint32_t length) {
  std::vector<std::byte> out(length);
  for (std::uint32_t i = 0; i < length; ++i)
    out[i] = content_at(offset + i);
  return out;
}

// v1, one file.
inline Metainfo make_v1(std::uint64_t size, std::uint32_t piece_size) {
  Metainfo info;
  info.name = "data";
  info.single_file = true;
  info.has_v1 = true;
  info.blocks = {size, piece_size};
  info.files.push_back({.path = "data", .length = size});
  for (std::uint32_t p = 0; p < info.blocks.piece_count(); ++p) {
    const PieceIndex piece(p);
    info.v1_pieces.push_back(
        sha1(content(info.blocks.piece_offset(piece), info.blocks.piece_length(piece))));
  }
  return info;
}

// A seed that a link shares with its test: what was asked, what is to be said.
struct ScriptedSeed {
  std::deque<LinkEvent> events;
  std::vector<Request> asked;
  std::vector<std::vector<std::byte>> kept;  // behind the events' data
  std::uint32_t piece_size = 0;
  bool opened = false;
  bool takes_requests = true;

  // The whole block at once.
  void answer(const Request& request) {
    kept.push_back(
        content(std::uint64_t{request.piece.value} * piece_size + request.begin, request.length));
    LinkEvent event;
    event.kind = LinkEvent::Kind::bytes;
    event.last = true;
    event.request = request;
    event.data = kept.back();
    events.push_back(event);
  }
  void say(LinkEvent::Kind kind, bool last = false, const char* reason = "") {
    LinkEvent event;
    event.kind = kind;
    event.last = last;
    event.reason = reason;
    events.push_back(event);
  }
};

// A link without a wire: requests go to the script, one byte a request to the stream.
class ScriptedLink final : public LoadLink {
 public:
  explicit ScriptedLink(ScriptedSeed& seed) : seed_(seed) {}
  void open(Instant, const Endpoint&) override { seed_.opened = true; }
  void reset() override {
    seed_.opened = false;
    pending_ = 0;
  }
  void on_data(Instant, std::span<const std::byte>) override {}
  bool poll_event(LinkEvent& event) override {
    if (seed_.events.empty()) return false;
    event = seed_.events.front();
    seed_.events.pop_front();
    return true;
  }
  void on_stream_closed(StreamError) override {}
  void set_send_blocked(Instant, bool) override {}
  [[nodiscard]] Instant next_timeout() const override { return Instant::never(); }
  void on_timeout(Instant) override {}
  [[nodiscard]] bool has(PieceIndex) const override { return true; }
  bool try_request(Instant, const Request& request) override {
    if (!seed_.takes_requests) return false;
    seed_.asked.push_back(request);
    ++pending_;
    return true;
  }
  [[nodiscard]] bool output_pending() const override { return pending_ > 0; }
  SmallFill fill_output(Instant, std::span<std::byte> scratch, std::span<SendPart> parts) override {
    parts[0] = {scratch.data(), static_cast<std::uint32_t>(pending_), SendPart::Kind::small};
    return {1, pending_, true};
  }
  void on_output_sent(Instant, std::size_t bytes) override { pending_ -= bytes; }

 private:
  ScriptedSeed& seed_;
  std::size_t pending_ = 0;
};

// Streams that connect at once and deliver what the test pushes.
class FakeStreams final : public StreamPort {
 public:
  std::size_t poll_events(Instant, std::span<StreamEvent> out) override {
    std::size_t n = 0;
    while (n < out.size() && !events.empty()) {
      out[n++] = events.front();
      events.pop_front();
    }
    return n;
  }
  SendResult try_send(StreamHandle stream, std::span<const SendPart> parts) override {
    ++sends;
    std::size_t bytes = 0;
    for (const SendPart& part : parts)
      bytes += part.length;
    bytes = std::min(bytes, room);
    sent[stream.value] += bytes;
    return {bytes, false};
  }
  std::size_t unacknowledged(StreamHandle) override { return 0; }
  void set_reading(StreamHandle, bool) override {}
  bool connect(const Endpoint&, const IpAddress& local, StreamHandle& out) override {
    if (refuse_connect) return false;
    out = StreamHandle(next_handle++);
    locals.push_back(local);
    StreamEvent event;
    event.kind = StreamEvent::Kind::connected;
    event.stream = out;
    events.push_back(event);
    return true;
  }
  void close(StreamHandle stream, bool) override { closed.push_back(stream); }

  void deliver(StreamHandle stream, StreamEvent::Kind kind) {
    StreamEvent event;
    event.kind = kind;
    event.stream = stream;
    event.error = StreamError::reset;
    events.push_back(event);
  }

  std::deque<StreamEvent> events;
  std::map<std::uint64_t, std::size_t> sent;
  std::vector<IpAddress> locals;
  std::vector<StreamHandle> closed;
  std::uint64_t next_handle = 0;
  std::size_t room = 1u << 20;
  int sends = 0;
  bool refuse_connect = false;
};

}  // namespace penstock
