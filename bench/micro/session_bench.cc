// What a session costs: a REQUEST from the receive buffer into the queue and out of it, a block's
// bookkeeping, an idle session's memory.
#include <cstring>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/assert.hh"
#include "peer/session.hh"
#include "wire/peer_wire.hh"

namespace penstock {
namespace {

struct World {
  World() : states(100'000, PieceState::verified), shared(limits(), 1024) {
    torrent.hash_count = 1;
    torrent.blocks = {.total_size = std::uint64_t{100'000} << 20, .piece_size = 1 << 20};
    torrent.pieces = &states;
    session.open(now, shared, SessionRole::seed, {}, false, nullptr);
    feed(wire::encode_handshake({.capabilities = {.extended = true, .fast = true},
                                 .info_hash = {},
                                 .peer_id = {std::byte{1}}}));
    session.set_choked(now, false);
    send();
    ASSERT(session.handshaken());
  }
  static SessionLimits limits() {
    SessionLimits limits;
    limits.requests_max = 4096;
    return limits;
  }
  void feed(std::span<const std::byte> bytes) {
    session.on_data(now, bytes);
    SessionEvent e;
    while (session.poll_event(e)) {
      if (e.kind == SessionEvent::Kind::info_hash) session.accept_torrent(now, &torrent);
      ASSERT(e.kind != SessionEvent::Kind::closed);
    }
  }
  void send() {
    std::array<std::byte, 4096> scratch;
    std::array<SendPart, 8> parts;
    while (session.small_pending()) {
      session.on_small_sent(now, session.fill_small(now, scratch, parts).bytes);
    }
  }

  Instant now{1'000'000'000};
  PieceStates states;
  Torrent torrent;
  SessionShared shared;
  Session session;
};

std::vector<std::byte> requests(std::size_t count) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < count; ++i) {
    const auto one = wire::encode_block(
        wire::MessageId::request, PieceIndex(static_cast<std::uint32_t>(i * 7919 % 100'000)),
        static_cast<std::uint32_t>(i % 64) * kBlockSize, kBlockSize);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  return bytes;
}

// range(0) requests in one receive, each read into the queue, popped and sent.
void request_in_and_out(benchmark::State& state) {
  World world;
  const auto count = static_cast<std::size_t>(state.range(0));
  const std::vector<std::byte> bytes = requests(count);
  for (auto _ : state) {
    world.feed(bytes);
    for (std::size_t i = 0; i < count; ++i) {
      benchmark::DoNotOptimize(world.session.pop_request());
      world.session.on_block_sent(world.now);
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(request_in_and_out)->Arg(1)->Arg(16)->Arg(128)->Arg(1024);

// The reading alone: the queue is dropped by a choke outside of the clock.
void request_in(benchmark::State& state) {
  World world;
  const std::size_t count = 4096;
  const std::vector<std::byte> bytes = requests(count);
  for (auto _ : state) {
    world.feed(bytes);
    state.PauseTiming();
    while (world.session.request_count() > 0) {
      world.session.pop_request();
      world.session.on_block_sent(world.now);
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(request_in);

// What a peer asks for and takes back while 1,023 requests of its wait: the search for it.
void request_and_cancel(benchmark::State& state) {
  World world;
  world.feed(requests(1023));
  const auto block = [](wire::MessageId id, std::uint32_t piece) {
    return wire::encode_block(id, PieceIndex(piece), 0, kBlockSize);
  };
  for (auto _ : state) {
    world.feed(block(wire::MessageId::request, 99'999));
    world.feed(block(wire::MessageId::cancel, 99'999));
    world.send();
    // Each block sent forgives a cancelled one.
    world.feed(block(wire::MessageId::request, 1));
    world.session.pop_request();
    world.session.on_block_sent(world.now);
  }
}
BENCHMARK(request_and_cancel);

// Requests cut at every 1,448 bytes, as segments are: one in 85 is put together.
void request_in_segments(benchmark::State& state) {
  World world;
  const std::size_t count = 1448;  // 17 segments
  const std::vector<std::byte> bytes = requests(count);
  for (auto _ : state) {
    for (std::size_t at = 0; at < bytes.size(); at += 1448)
      world.feed(std::span(bytes).subspan(at, std::min<std::size_t>(1448, bytes.size() - at)));
    while (world.session.request_count() > 0) {
      world.session.pop_request();
      world.session.on_block_sent(world.now);
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(request_in_segments);

// HAVE, as a fast leecher sends them.
void have_in(benchmark::State& state) {
  auto world = std::make_unique<World>();
  std::vector<std::byte> bytes;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const auto one = wire::encode_index(wire::MessageId::have, PieceIndex(i));
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  int rounds = 0;
  for (auto _ : state) {
    if (++rounds == 90) {  // each piece is free once
      state.PauseTiming();
      world = std::make_unique<World>();
      rounds = 0;
      state.ResumeTiming();
    }
    world->feed(bytes);
  }
  state.SetItemsProcessed(state.iterations() * 1000);
}
BENCHMARK(have_in);

void idle_session_bytes(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(sizeof(Session));
  state.counters["bytes"] = sizeof(Session);
}
BENCHMARK(idle_session_bytes);

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
