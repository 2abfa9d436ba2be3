// What a segment costs outside of tcp/: parsing a burst of 64, and writing headers.
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "net/flow_table.hh"
#include "net/frame_parser.hh"
#include "net/frame_writer.hh"
#include "wire/checksum.hh"

namespace {

using namespace penstock;

constexpr std::size_t kBurst = net::kFrameBurst;

const net::Host& our_host() {
  static const net::Host kHost({{2, 0, 0, 0, 0, 1}}, 0, 1500,
                               std::vector<net::Interface>{{*parse_ip("192.0.2.1"), 24, {}},
                                                           {*parse_ip("2001:db8::1"), 64, {}}});
  return kHost;
}

// A frame to us, as a far host's template makes it.
std::vector<std::byte> frame_to_us(bool v4, std::size_t payload, std::uint16_t port) {
  static const net::Host kFar({{2, 0, 0, 0, 0, 2}}, 0, 1500, {});
  const tcp::Flow flow{*parse_ip(v4 ? "192.0.2.2" : "2001:db8::2"),
                       *parse_ip(v4 ? "192.0.2.1" : "2001:db8::1"), port, 6881};
  static const std::vector<std::byte> kPayload(1448, std::byte{0x5a});
  tcp::SegmentOut segment;
  segment.flags = 0x10;
  wire::TcpOptions options;
  options.has_timestamps = true;
  segment.options_length =
      static_cast<std::uint8_t>(wire::write_tcp_options(segment.options.data(), options));
  if (payload != 0) {
    segment.parts[0] = {kPayload.data(), static_cast<std::uint32_t>(payload), nullptr};
    segment.part_count = 1;
    segment.payload_length = static_cast<std::uint32_t>(payload);
    segment.segment_size = 1448;
  }
  net::TxFrame frame;
  const net::HeaderWriter headers(kFar);
  headers.write({{2, 0, 0, 0, 0, 1}}, flow, headers.sums(flow), segment, false, frame);
  std::vector<std::byte> out(frame.head.begin(), frame.head.begin() + frame.head_length);
  for (std::size_t i = 0; i < frame.part_count; ++i)
    out.insert(out.end(), frame.parts[i].data, frame.parts[i].data + frame.parts[i].length);
  return out;
}

// Args: IPv4, payload bytes, checksum known by the device.
void parse_burst(benchmark::State& state) {
  std::vector<std::vector<std::byte>> frames;
  std::array<net::RxFrame, kBurst> burst;
  for (std::size_t i = 0; i < kBurst; ++i) {
    frames.push_back(frame_to_us(state.range(0) != 0, static_cast<std::size_t>(state.range(1)),
                                 static_cast<std::uint16_t>(1000 + i)));
    burst[i] = {frames[i], state.range(2) != 0 ? net::RxChecksum::good : net::RxChecksum::unknown,
                0};
  }
  const auto parsed = std::make_unique<net::ParsedFrame[]>(kBurst);
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBurst; ++i)
      net::parse_frame(burst[i], our_host(), parsed[i]);
    benchmark::DoNotOptimize(parsed.get());
    benchmark::ClobberMemory();
  }
  for (std::size_t i = 0; i < kBurst; ++i) {
    if (parsed[i].kind != net::ParsedFrame::Kind::tcp) state.SkipWithError("not parsed");
  }
  state.counters["ns/segment"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * kBurst * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(parse_burst)
    ->ArgNames({"v4", "payload", "offload"})
    ->Args({1, 0, 1})
    ->Args({0, 0, 1})
    ->Args({1, 0, 0})
    ->Args({1, 1448, 1})
    ->Args({1, 1448, 0});

// Args: IPv4, payload bytes, checksum left to the device.
void write_headers(benchmark::State& state) {
  const bool v4 = state.range(0) != 0;
  const tcp::Flow flow{*parse_ip(v4 ? "192.0.2.1" : "2001:db8::1"),
                       *parse_ip(v4 ? "192.0.2.2" : "2001:db8::2"), 6881, 40000};
  const net::HeaderWriter headers(our_host());
  const net::FlowSums sums = headers.sums(flow);
  const std::vector<std::byte> payload(16'384, std::byte{0x5a});
  tcp::SegmentOut segment;
  segment.flags = 0x10;
  segment.options_length = 12;
  segment.segment_size = 1448;
  segment.payload_length = static_cast<std::uint32_t>(state.range(1));
  if (segment.payload_length != 0) {
    segment.parts[0] = {payload.data(), segment.payload_length, nullptr};
    segment.part_count = 1;
  }
  const auto frames = std::make_unique<net::TxFrame[]>(kBurst);
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBurst; ++i) {
      segment.seq += 1448;
      headers.write({{2, 0, 0, 0, 0, 2}}, flow, sums, segment, state.range(2) != 0, frames[i]);
    }
    benchmark::DoNotOptimize(frames.get());
    benchmark::ClobberMemory();
  }
  state.counters["ns/frame"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * kBurst * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(write_headers)
    ->ArgNames({"v4", "payload", "offload"})
    ->Args({1, 0, 1})
    ->Args({0, 0, 1})
    ->Args({1, 0, 0})
    ->Args({1, 1448, 1})
    ->Args({1, 1448, 0})
    ->Args({1, 16384, 1});

void checksum(benchmark::State& state) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)), std::byte{0x5a});
  for (auto _ : state)
    benchmark::DoNotOptimize(wire::fold(wire::add_bytes(0, bytes)));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(checksum)->Arg(20)->Arg(64)->Arg(1460)->Arg(16384);

}  // namespace

BENCHMARK_MAIN();
