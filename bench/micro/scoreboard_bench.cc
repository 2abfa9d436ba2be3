// What the scoreboard costs: a send and its acknowledgement, at so many records in flight, in order
// and with holes, and under a peer that SACKs to hurt.
//
// The time is of one iteration: `per_ack` is what an acknowledgement costs with the sends and
// resends that belong to it.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/random.hh"
#include "transport/scoreboard.hh"

namespace penstock::transport {
namespace {

constexpr std::uint16_t kMss = 1448;
constexpr std::int64_t kRtt = 10'000'000;

RttEstimator ten_milliseconds() {
  RttEstimator rtt;
  rtt.on_sample(Instant{0}, Duration::nanoseconds(kRtt));
  return rtt;
}

// `in_flight` records; an ACK for every second of them, a send of as many.
void BM_InOrder(benchmark::State& state) {
  RecordPool pool(4'096);
  const RttEstimator rtt = ten_milliseconds();
  Scoreboard board(pool, SeqNumber(1));
  std::int64_t now = 0;
  for (std::int64_t i = 0; i < state.range(0); ++i)
    (void)board.on_sent(Instant{now}, kMss, kMss);
  for (auto _ : state) {
    now += 20'000;
    benchmark::DoNotOptimize(
        board.on_ack(Instant{now}, board.una() + 2 * kMss, {}, rtt, false).acked);
    (void)board.on_sent(Instant{now}, kMss, kMss);
    (void)board.on_sent(Instant{now}, kMss, kMss);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_InOrder)->Arg(16)->Arg(64)->Arg(1'500);

// The same with 16 KiB at a time (TSO and a receiver that merges).
void BM_InOrderTso(benchmark::State& state) {
  constexpr std::uint32_t kFrame = 11 * kMss;
  RecordPool pool(4'096);
  const RttEstimator rtt = ten_milliseconds();
  Scoreboard board(pool, SeqNumber(1));
  std::int64_t now = 0;
  for (std::int64_t i = 0; i < state.range(0); i += 11)
    (void)board.on_sent(Instant{now}, kFrame, kMss);
  for (auto _ : state) {
    now += 100'000;
    benchmark::DoNotOptimize(
        board.on_ack(Instant{now}, board.una() + kFrame, {}, rtt, false).acked);
    (void)board.on_sent(Instant{now}, kFrame, kMss);
  }
  state.counters["per_mss"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 11,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_InOrderTso)->Arg(64)->Arg(1'500);

// Many connections, one after another: what misses the cache.
void BM_Connections(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  RecordPool pool(static_cast<std::uint32_t>(count * 4 + 64));
  const RttEstimator rtt = ten_milliseconds();
  std::vector<std::unique_ptr<Scoreboard>> boards;
  std::int64_t now = 0;
  for (std::size_t i = 0; i < count; ++i) {
    boards.push_back(std::make_unique<Scoreboard>(pool, SeqNumber(1)));
    for (int k = 0; k < 32; ++k)
      (void)boards[i]->on_sent(Instant{now}, kMss, kMss);
  }
  std::size_t next = 0;
  for (auto _ : state) {
    now += 100;
    Scoreboard& board = *boards[next];
    if (++next == count) next = 0;
    benchmark::DoNotOptimize(
        board.on_ack(Instant{now}, board.una() + 2 * kMss, {}, rtt, false).acked);
    (void)board.on_sent(Instant{now}, kMss, kMss);
    (void)board.on_sent(Instant{now}, kMss, kMss);
  }
}
BENCHMARK(BM_Connections)->Arg(1)->Arg(64)->Arg(1'000)->Arg(10'000);

// What an ACK of the script says, from the first byte of the flight on.
struct ScriptedAck {
  std::uint32_t ack;
  std::uint32_t count;
  wire::SackBlock blocks[3];
};

// A flight of which every `every`th segment is lost: an ACK for each that comes, with the run that
// it is in and the two before it; then the lost ones come, sent again.
std::vector<ScriptedAck> script(std::uint32_t records, std::uint32_t every,
                                std::size_t& resent_at) {
  std::vector<ScriptedAck> acks;
  const auto run = [&](std::uint32_t hole, std::uint32_t end) {
    return wire::SackBlock{SeqNumber((hole + 1) * kMss), SeqNumber(end * kMss)};
  };
  for (std::uint32_t i = 0; i < records; ++i) {
    if (i % every == 0) continue;
    ScriptedAck ack{};
    std::uint32_t hole = i / every * every;
    ack.blocks[ack.count++] = run(hole, i + 1);
    while (ack.count < 3 && hole >= every) {
      ack.blocks[ack.count++] = run(hole - every, hole);
      hole -= every;
    }
    acks.push_back(ack);
  }
  resent_at = acks.size();
  for (std::uint32_t hole = 0; hole < records; hole += every) {
    ScriptedAck ack{};
    const std::uint32_t next = hole + every;
    ack.ack = std::min(next, records) * kMss;
    if (next < records) ack.blocks[ack.count++] = run(next, std::min(next + every, records));
    acks.push_back(ack);
  }
  return acks;
}

void BM_Holes(benchmark::State& state) {
  const auto records = static_cast<std::uint32_t>(state.range(0));
  RecordPool pool(4'096);
  const RttEstimator rtt = ten_milliseconds();
  Scoreboard board(pool, SeqNumber(1));
  std::size_t resent_at = 0;
  const std::vector<ScriptedAck> acks =
      script(records, static_cast<std::uint32_t>(state.range(1)), resent_at);
  std::int64_t now = 0;
  std::int64_t lost = 0;
  for (auto _ : state) {
    const SeqNumber origin = board.una();
    for (std::uint32_t i = 0; i < records; ++i)
      (void)board.on_sent(Instant{now += 1'000}, kMss, kMss);
    now += kRtt;
    for (std::size_t i = 0; i < acks.size(); ++i) {
      if (i == resent_at) now += kRtt;
      wire::SackBlock blocks[3];
      for (std::uint32_t k = 0; k < acks[i].count; ++k)
        blocks[k] = {origin + acks[i].blocks[k].begin.value, origin + acks[i].blocks[k].end.value};
      const AckReport report = board.on_ack(Instant{now += 1'000}, origin + acks[i].ack,
                                            {blocks, acks[i].count}, rtt, true);
      lost += report.lost;
      Scoreboard::Lost again;
      while (board.next_lost(kMss, again))
        board.on_resent(Instant{now}, again);
    }
  }
  if (lost == 0 || !board.empty()) state.SkipWithError("nothing was lost, or something is left");
  state.counters["per_ack"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(acks.size()),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_Holes)
    ->ArgsProduct({{16, 64, 1'500}, {2, 10, 50}})
    ->ArgNames({"records", "one_lost_of"});

// Four blocks anywhere, as long as possible, never those of the ACK before; most is SACKed already.
void BM_Attack(benchmark::State& state) {
  const auto records = static_cast<std::uint32_t>(state.range(0));
  RecordPool pool(4'096);
  const RttEstimator rtt = ten_milliseconds();
  Scoreboard board(pool, SeqNumber(1));
  Random random(1);
  std::int64_t now = 0;
  for (std::uint32_t i = 0; i < records; ++i)
    (void)board.on_sent(Instant{now}, kMss, kMss);
  const SeqNumber origin = board.una();
  std::vector<wire::SackBlock> blocks(4'096);
  for (wire::SackBlock& block : blocks) {
    const auto begin = static_cast<std::uint32_t>(1 + random.below(records / 8));
    const auto end = records - static_cast<std::uint32_t>(random.below(records / 8));
    block = {origin + begin * kMss, origin + end * kMss};
  }
  std::size_t at = 0;
  for (auto _ : state) {
    at = at + 4 == blocks.size() ? 0 : at + 4;
    now += 1'000;
    benchmark::DoNotOptimize(
        board.on_ack(Instant{now}, origin, {&blocks[at], 4}, rtt, true).sacked);
  }
}
BENCHMARK(BM_Attack)->Arg(64)->Arg(1'500)->Arg(20'000);

}  // namespace
}  // namespace penstock::transport

BENCHMARK_MAIN();
