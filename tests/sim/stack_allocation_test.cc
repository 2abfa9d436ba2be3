// A stack allocates when it is built, and never again, whatever the weather: connections come and
// go, are refused, find nobody; segments are lost, late, twice, corrupt; memory is taken back.
#include <new>

#include <gtest/gtest.h>

#include "sim/bulk_host.hh"
#include "support/count_allocations.hh"
#include "tcp/shared.hh"

namespace penstock::test {
namespace {

constexpr auto ms = Duration::milliseconds;

TEST(StackAllocation, TheGuardCounts) {
  void* volatile memory = nullptr;
  const std::uint64_t before = support::CountAllocations::counted();
  {
    const support::CountAllocations guard;
    memory = ::operator new(10);
    const support::PauseCount pause;
    ::operator delete(memory);
    memory = ::operator new(10);
  }
  ::operator delete(memory);
  EXPECT_EQ(support::CountAllocations::counted(), before + 1);
}

support::NicOptions nic(std::uint8_t number) {
  support::NicOptions n;
  n.mac = {{2, 0, 0, 0, 0, number}};
  n.tx_checksum = true;
  n.tso_bytes_max = number == 1 ? 40'000 : 0;
  n.holds_payload = true;
  n.merges = number == 2;
  n.tx_ring = 64;
  n.line_rate = 125'000'000;
  n.short_bursts = 50'000;
  return n;
}

support::PathOptions path() {
  support::PathOptions p;
  p.rate = 5'000'000;
  p.delay = ms(5);
  p.queue = 60'000;
  p.mark_above = 30'000;
  p.loss = 10'000;
  p.good_mean = ms(400);
  p.bad_mean = ms(60);
  p.bad_loss = 900'000;
  p.duplicate = 5'000;
  p.corrupt = 2'000;
  p.reorder = 10'000;
  return p;
}

BulkOptions host(bool v6, std::uint8_t number) {
  BulkOptions out;
  net::StackOptions& s = out.stack;
  net::Interface interface;
  interface.prefix_length = v6 ? 64 : 24;
  interface.address = IpAddress::v4(10, 0, 0, number);
  if (v6) {
    interface.address.bytes = {0xfd, 1};
    interface.address.bytes[15] = number;
  }
  s.interfaces.push_back(interface);
  s.listen = {7000};
  s.connections_max = 32;
  s.syn_backlog = 2;
  s.time_wait_max = 8;
  s.send_buffer = 200'000;
  s.receive_window = 200'000;
  // So few that they run out.
  s.send_pages = s.receive_pages = 128;
  s.record_pages = 128;
  s.fin_wait_2 = ms(500);
  s.time_wait = ms(500);
  s.secret = {number, 5};
  out.sends = 150'000;
  out.shed_every = ms(7);
  return out;
}

TEST(StackAllocation, NoneAfterConstruction) {
  for (const bool v6 : {false, true}) {
    support::SimLink link(7, nic(1), nic(2), path(), path());
    BulkHost a(link, 0, host(v6, 1));
    BulkHost b(link, 1, host(v6, 2));
    Random random(3);
    Instant connects{};
    const Instant end = Instant{} + Duration::seconds(20);
    for (Instant now{}; now < end;) {
      link.advance_to(now);
      if (connects <= now) {
        connects = now + ms(20 + static_cast<std::int64_t>(random.below(200)));
        Endpoint remote{host(v6, 2).stack.interfaces[0].address, 7000};
        const std::uint64_t what = random.below(10);
        if (what == 0) remote.port = 9;
        if (what == 1) remote.ip.bytes[15] = 99;
        if (b.stack().connections() < 24) a.connect(remote, 1 + random.below(200'000));
      }
      a.step(now);
      b.step(now);
      link.advance_to(now);
      const Instant next = earlier(earlier(a.next(now), b.next(now)), link.next_event());
      now = std::max(now + Duration::nanoseconds(1), std::min(connects, next));
    }
    a.stack().validate();
    b.stack().validate();
    EXPECT_EQ(a.wrong(), "");
    EXPECT_EQ(b.wrong(), "");
    EXPECT_EQ(link.complaint(), "");
    EXPECT_EQ(a.allocations(), 0u);
    EXPECT_EQ(b.allocations(), 0u);
    // It was worth it.
    const tcp::Counters& c = a.stack().tcp_counters();
    EXPECT_GT(c.opened_active, 50u);
    EXPECT_GT(c.closed, 30u);
    EXPECT_GT(c.recoveries, 10u);
    EXPECT_GT(c.retransmission_timeouts, 0u);
    EXPECT_GT(c.shed, 10u);
    EXPECT_GT(c.needed, 0u);
    EXPECT_GT(b.stack().tcp_counters().bytes_in, 1'000'000u);
  }
}

}  // namespace
}  // namespace penstock::test
