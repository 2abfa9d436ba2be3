// One suite for every StreamPort (src/stream/byte_stream.hh).
#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "base/random.hh"
#include "stream_world.hh"
#include "support/skip.hh"

namespace penstock::conformance {
namespace {

// What one end saw of one stream.
struct Seen {
  Endpoint remote;
  bool accepted = false;
  bool connected = false;
  std::size_t writable = 0;
  std::vector<std::byte> data;
  bool closed = false;
  StreamError error = StreamError::none;
};

struct End {
  explicit End(StreamPort& p) : port(&p) {}
  StreamPort* port;
  std::map<std::uint64_t, Seen> streams;
  std::vector<StreamHandle> accepted;
  std::size_t events_after_close = 0;
  std::size_t data_events = 0;

  void poll(Instant now, std::size_t room = 16) {
    std::vector<StreamEvent> events(room);
    const std::size_t n = port->poll_events(now, events);
    ASSERT_LE(n, room);
    for (std::size_t i = 0; i < n; ++i)
      take(events[i]);
  }
  void take(const StreamEvent& event) {
    Seen& seen = streams[event.stream.value];
    if (seen.closed) ++events_after_close;
    switch (event.kind) {
      case StreamEvent::Kind::accepted:
        seen.accepted = true;
        seen.remote = event.endpoint;
        accepted.push_back(event.stream);
        break;
      case StreamEvent::Kind::connected:
        seen.connected = true;
        break;
      case StreamEvent::Kind::data:
        EXPECT_FALSE(event.data.empty());
        ++data_events;
        seen.data.insert(seen.data.end(), event.data.begin(), event.data.end());
        break;
      case StreamEvent::Kind::writable:
        ++seen.writable;
        break;
      case StreamEvent::Kind::released:
      case StreamEvent::Kind::need:
        ADD_FAILURE() << "nothing was given with a pin";
        break;
      case StreamEvent::Kind::closed:
        seen.closed = true;
        seen.error = event.error;
        break;
    }
  }
};

// Content with a page of its own: the by-reference flavours want it in an arena.
class Pages {
 public:
  explicit Pages(std::size_t size) : size_(size) {
    data_ = static_cast<std::byte*>(
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  ~Pages() { ::munmap(data_, size_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  void fill(std::uint64_t seed) {
    Random random(seed);
    for (std::size_t i = 0; i + 8 <= size_; i += 8) {
      const std::uint64_t word = random.next();
      std::memcpy(data_ + i, &word, 8);
    }
  }
  void renew() { ASSERT_EQ(::madvise(data_, size_, MADV_DONTNEED), 0); }
  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  std::byte* data_;
};

class StreamPortSuite : public testing::TestWithParam<StreamFlavour> {
 protected:
  void SetUp() override {
    std::string why_not;
    world_ = GetParam().make(why_not);
    if (world_ == nullptr) {
      PENSTOCK_SKIP(why_not);
    }
    server_ = std::make_unique<End>(world_->server());
    client_ = std::make_unique<End>(world_->client());
  }

  void turn() {
    world_->step();
    server_->poll(world_->now());
    client_->poll(world_->now());
    world_->validate();
  }
  // Until the condition holds; false when it doesn't within 20 s of the world's time.
  template <class Condition>
  bool until(Condition condition) {
    const Instant deadline = world_->now() + Duration::seconds(20);
    while (!condition()) {
      if (world_->now() > deadline) return false;
      turn();
    }
    return true;
  }
  // A stream from the client to the server.
  struct Pair {
    StreamHandle client, server;
  };
  Pair open_stream() {
    Pair pair;
    const std::size_t before = server_->accepted.size();
    EXPECT_TRUE(client_->port->connect(world_->address(), {}, pair.client));
    EXPECT_TRUE(until([&] {
      return client_->streams[pair.client.value].connected && server_->accepted.size() > before;
    }));
    if (server_->accepted.size() > before) pair.server = server_->accepted[before];
    return pair;
  }
  std::size_t send(End& end, StreamHandle stream, const std::vector<std::byte>& bytes,
                   std::size_t from = 0) {
    const SendPart part{bytes.data() + from, static_cast<std::uint32_t>(bytes.size() - from),
                        SendPart::Kind::slab};
    return end.port->try_send(stream, {&part, 1}).accepted;
  }
  // However many sends it takes.
  bool send_all(End& end, StreamHandle stream, const std::vector<std::byte>& bytes) {
    std::size_t sent = send(end, stream, bytes);
    return until([&] {
      if (sent < bytes.size()) sent += send(end, stream, bytes, sent);
      return sent == bytes.size();
    });
  }
  // To a peer that doesn't read, from the client: sooner or later nothing fits for good.
  std::size_t send_until_full(StreamHandle stream, const std::vector<std::byte>& bytes) {
    std::size_t sent = 0;
    int quiet = 0;
    EXPECT_TRUE(until([&] {
      const std::size_t accepted = send(*client_, stream, bytes);
      sent += accepted;
      quiet = accepted == 0 ? quiet + 1 : 0;
      return quiet > 50;
    }));
    return sent;
  }

  std::unique_ptr<StreamWorld> world_;
  std::unique_ptr<End> server_, client_;
};

std::vector<std::byte> random_bytes(std::uint64_t seed, std::size_t size) {
  Random random(seed);
  std::vector<std::byte> out(size);
  for (std::byte& b : out)
    b = static_cast<std::byte>(random.next());
  return out;
}

TEST_P(StreamPortSuite, ConnectsAndTellsWhoCame) {
  const Pair pair = open_stream();
  const Seen& seen = server_->streams[pair.server.value];
  EXPECT_TRUE(seen.accepted);
  EXPECT_TRUE(seen.remote.ip == IpAddress::v4(127, 0, 0, 1) || !GetParam().real_sockets);
  EXPECT_NE(seen.remote.port, 0);
}

TEST_P(StreamPortSuite, BytesArriveInOrderBothWaysWhateverTheParts) {
  const Pair pair = open_stream();
  Pages pages(1 << 20);
  pages.fill(7);
  Random random(11);
  struct Way {
    End* from;
    StreamHandle handle;
    std::vector<std::byte> sent;
    std::vector<SendPart> parts;
    std::vector<std::vector<std::byte>> small;
    bool blocked = false;
    std::size_t writable_seen = 0;
    bool exposed = false;
  };
  std::array<Way, 2> ways{Way{client_.get(), pair.client}, Way{server_.get(), pair.server}};
  constexpr std::size_t kTotal = 12 << 20;
  const auto pump = [&](Way& way) {
    Seen& seen = way.from->streams[way.handle.value];
    if (way.blocked && seen.writable == way.writable_seen) return;
    way.blocked = false;
    if (way.sent.size() >= kTotal) return;
    std::vector<SendPart> parts;
    std::vector<std::vector<std::byte>> small;
    small.reserve(kSendPartsMax);
    const std::size_t count = 1 + random.below(kSendPartsMax);
    const auto bias = random.below(3);
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const auto kind = random.below(4);
      if (kind == 0 || i % 2 == 0) {
        small.push_back(random_bytes(random.next(), 1 + random.below(60)));
        parts.push_back({small.back().data(), static_cast<std::uint32_t>(small.back().size()),
                         SendPart::Kind::small});
      } else {
        const auto length = static_cast<std::uint32_t>(1 + random.below(20000));
        const std::size_t at = random.below(pages.size() - length);
        const bool hot = bias == 0 || (bias == 1 && kind == 1);
        parts.push_back(
            {pages.data() + at, length, hot ? SendPart::Kind::hot_slab : SendPart::Kind::slab});
      }
      wanted += parts.back().length;
    }
    const SendResult result = way.from->port->try_send(way.handle, parts);
    ASSERT_LE(result.accepted, wanted);
    way.exposed |= result.exposed;
    std::size_t left = result.accepted;
    for (const SendPart& part : parts) {
      const std::size_t n = std::min<std::size_t>(left, part.length);
      way.sent.insert(way.sent.end(), part.data, part.data + n);
      left -= n;
    }
    if (result.accepted < wanted) {
      way.blocked = true;
      way.writable_seen = seen.writable;
    }
  };
  ASSERT_TRUE(until([&] {
    pump(ways[0]);
    pump(ways[1]);
    return ways[0].sent.size() >= kTotal && ways[1].sent.size() >= kTotal &&
           server_->streams[pair.server.value].data.size() >= ways[0].sent.size() &&
           client_->streams[pair.client.value].data.size() >= ways[1].sent.size();
  }));
  EXPECT_TRUE(server_->streams[pair.server.value].data == ways[0].sent);
  EXPECT_TRUE(client_->streams[pair.client.value].data == ways[1].sent);
  EXPECT_EQ(ways[0].exposed || ways[1].exposed, GetParam().by_reference);
}

TEST_P(StreamPortSuite, ShortSendIsFollowedByOneWritable) {
  const Pair pair = open_stream();
  server_->port->set_reading(pair.server, false);
  const auto bytes = random_bytes(3, 256 * 1024);
  Seen& sender = client_->streams[pair.client.value];
  const std::size_t sent = send_until_full(pair.client, bytes);
  EXPECT_EQ(send(*client_, pair.client, bytes), 0u) << "the port said it was full";
  const std::size_t before = sender.writable;
  server_->port->set_reading(pair.server, true);
  ASSERT_TRUE(until([&] { return sender.writable > before; }));
  ASSERT_TRUE(until([&] { return server_->streams[pair.server.value].data.size() == sent; }));
  EXPECT_EQ(sender.writable, before + 1);
  EXPECT_GT(send(*client_, pair.client, bytes), 0u);
}

TEST_P(StreamPortSuite, TellsWhatThePeerHasNotAcknowledged) {
  const Pair pair = open_stream();
  EXPECT_EQ(client_->port->unacknowledged(pair.client), 0u);
  server_->port->set_reading(pair.server, false);
  const auto bytes = random_bytes(4, 256 * 1024);
  const std::size_t sent = send_until_full(pair.client, bytes);
  const std::size_t full = client_->port->unacknowledged(pair.client);
  EXPECT_GT(full, 0u);
  EXPECT_LE(full, sent);
  server_->port->set_reading(pair.server, true);
  EXPECT_TRUE(until([&] { return client_->port->unacknowledged(pair.client) == 0; }));
  EXPECT_EQ(client_->port->unacknowledged(StreamHandle(~0ull)), 0u);
}

TEST_P(StreamPortSuite, ReadingOffStopsDataAndOnLosesNothing) {
  const Pair pair = open_stream();
  const auto bytes = random_bytes(5, 40'000);
  ASSERT_TRUE(send_all(*client_, pair.client, bytes));
  ASSERT_TRUE(until([&] { return !server_->streams[pair.server.value].data.empty(); }));
  server_->port->set_reading(pair.server, false);
  const std::size_t frozen = server_->streams[pair.server.value].data.size();
  ASSERT_TRUE(send_all(*client_, pair.client, bytes));
  for (int i = 0; i < 50; ++i)
    turn();
  EXPECT_EQ(server_->streams[pair.server.value].data.size(), frozen);
  server_->port->set_reading(pair.server, true);
  auto twice = bytes;
  twice.insert(twice.end(), bytes.begin(), bytes.end());
  ASSERT_TRUE(until([&] { return server_->streams[pair.server.value].data.size() >= 80'000; }));
  EXPECT_TRUE(server_->streams[pair.server.value].data == twice);
}

TEST_P(StreamPortSuite, ReadingToggledOftenLosesNothing) {
  const Pair pair = open_stream();
  Random random(17);
  const auto bytes = random_bytes(19, 3'000'000);
  std::size_t sent = 0;
  ASSERT_TRUE(until([&] {
    if (sent < bytes.size()) sent += send(*client_, pair.client, bytes, sent);
    server_->port->set_reading(pair.server, random.below(3) != 0);
    return server_->streams[pair.server.value].data.size() == bytes.size();
  }));
  EXPECT_TRUE(server_->streams[pair.server.value].data == bytes);
}

TEST_P(StreamPortSuite, GracefulCloseDeliversWhatWasAccepted) {
  const Pair pair = open_stream();
  // Unread bytes on the closing side must not turn the close into a reset.
  const auto noise = random_bytes(1, 30'000);
  server_->port->set_reading(pair.server, false);
  ASSERT_TRUE(send_all(*client_, pair.client, noise));
  for (int i = 0; i < 10; ++i)
    turn();
  const auto bytes = random_bytes(23, 500'000);
  const std::size_t accepted = send(*server_, pair.server, bytes);
  ASSERT_GT(accepted, 0u);
  server_->port->close(pair.server, true);
  EXPECT_EQ(send(*server_, pair.server, bytes), 0u) << "the handle is gone";
  ASSERT_TRUE(until([&] { return client_->streams[pair.client.value].closed; }));
  const Seen& seen = client_->streams[pair.client.value];
  EXPECT_EQ(seen.error, StreamError::closed_by_peer);
  ASSERT_EQ(seen.data.size(), accepted);
  EXPECT_TRUE(std::equal(seen.data.begin(), seen.data.end(), bytes.begin()));
  EXPECT_FALSE(server_->streams[pair.server.value].closed) << "no event follows close()";
}

TEST_P(StreamPortSuite, EndComesAfterTheDataOfAPausedStream) {
  const Pair pair = open_stream();
  const auto bytes = random_bytes(29, 20'000);
  ASSERT_TRUE(send_all(*client_, pair.client, bytes));
  ASSERT_TRUE(until([&] { return !server_->streams[pair.server.value].data.empty(); }));
  ASSERT_TRUE(send_all(*client_, pair.client, bytes));
  server_->port->set_reading(pair.server, false);
  client_->port->close(pair.client, true);
  for (int i = 0; i < 50; ++i)
    turn();
  EXPECT_FALSE(server_->streams[pair.server.value].closed);
  server_->port->set_reading(pair.server, true);
  ASSERT_TRUE(until([&] { return server_->streams[pair.server.value].closed; }));
  EXPECT_EQ(server_->streams[pair.server.value].data.size(), 2 * bytes.size());
  EXPECT_EQ(server_->streams[pair.server.value].error, StreamError::closed_by_peer);
}

TEST_P(StreamPortSuite, ResetIsSeenByTheOtherEnd) {
  for (const bool paused : {false, true}) {
    const Pair pair = open_stream();
    if (paused) server_->port->set_reading(pair.server, false);
    for (int i = 0; i < 5; ++i)
      turn();
    client_->port->close(pair.client, false);
    ASSERT_TRUE(until([&] { return server_->streams[pair.server.value].closed; }));
    EXPECT_EQ(server_->streams[pair.server.value].error, StreamError::reset);
    EXPECT_EQ(send(*server_, pair.server, random_bytes(1, 10)), 0u);
  }
}

TEST_P(StreamPortSuite, SendingIntoAResetStreamEndsItOnce) {
  const Pair pair = open_stream();
  client_->port->close(pair.client, false);
  const auto bytes = random_bytes(31, 100'000);
  ASSERT_TRUE(until([&] {
    send(*server_, pair.server, bytes);
    return server_->streams[pair.server.value].closed;
  }));
  EXPECT_EQ(server_->streams[pair.server.value].error, StreamError::reset);
  for (int i = 0; i < 20; ++i)
    turn();
  EXPECT_EQ(server_->events_after_close, 0u);
}

TEST_P(StreamPortSuite, RefusedConnectSaysSo) {
  Endpoint nobody = world_->address();
  nobody.port = 1;  // tcpmux: nobody listens there
  StreamHandle handle;
  ASSERT_TRUE(client_->port->connect(nobody, {}, handle));
  ASSERT_TRUE(until([&] { return client_->streams[handle.value].closed; }));
  EXPECT_EQ(client_->streams[handle.value].error, StreamError::refused);
  EXPECT_FALSE(client_->streams[handle.value].connected);
}

TEST_P(StreamPortSuite, CloseOfAConnectingStreamIsSilent) {
  StreamHandle handle;
  ASSERT_TRUE(client_->port->connect(world_->address(), {}, handle));
  client_->port->close(handle, false);
  for (int i = 0; i < 30; ++i)
    turn();
  EXPECT_EQ(client_->streams.count(handle.value), 0u);
}

TEST_P(StreamPortSuite, HandlesOfGoneStreamsNameNothing) {
  std::vector<StreamHandle> old;
  for (int round = 0; round < 200; ++round) {
    const Pair pair = open_stream();
    for (const StreamHandle handle : old)
      ASSERT_NE(handle, pair.client);
    old.push_back(pair.client);
    if (round % 2 == 0) {
      client_->port->close(pair.client, round % 4 == 0);
      ASSERT_TRUE(until([&] { return server_->streams[pair.server.value].closed; }));
    } else {
      server_->port->close(pair.server, round % 4 == 1);
      ASSERT_TRUE(until([&] { return client_->streams[pair.client.value].closed; }));
    }
  }
  const auto bytes = random_bytes(37, 100);
  for (const StreamHandle handle : old) {
    EXPECT_EQ(send(*client_, handle, bytes), 0u);
    client_->port->set_reading(handle, false);
    client_->port->close(handle, true);
  }
  const Pair pair = open_stream();
  ASSERT_TRUE(send_all(*client_, pair.client, bytes));
  ASSERT_TRUE(until([&] { return server_->streams[pair.server.value].data == bytes; }));
}

TEST_P(StreamPortSuite, ManyStreamsAtOnceKeepTheirBytesApart) {
  constexpr std::size_t kStreams = 40;
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < kStreams; ++i)
    pairs.push_back(open_stream());
  std::vector<std::vector<std::byte>> bytes;
  std::vector<std::size_t> sent(kStreams, 0);
  for (std::size_t i = 0; i < kStreams; ++i)
    bytes.push_back(random_bytes(100 + i, 100'000 + 1000 * i));
  ASSERT_TRUE(until([&] {
    bool all = true;
    for (std::size_t i = 0; i < kStreams; ++i) {
      if (sent[i] < bytes[i].size()) sent[i] += send(*client_, pairs[i].client, bytes[i], sent[i]);
      all &= server_->streams[pairs[i].server.value].data.size() == bytes[i].size();
    }
    return all;
  }));
  for (std::size_t i = 0; i < kStreams; ++i)
    EXPECT_TRUE(server_->streams[pairs[i].server.value].data == bytes[i]);
}

TEST_P(StreamPortSuite, HandlesRunOutAndComeBack) {
  std::vector<StreamHandle> handles;
  StreamHandle handle;
  while (handles.size() < 1000 && client_->port->connect(world_->address(), {}, handle))
    handles.push_back(handle);
  ASSERT_LT(handles.size(), 1000u);
  for (const StreamHandle open : handles)
    client_->port->close(open, false);
  ASSERT_TRUE(until([&] { return client_->port->connect(world_->address(), {}, handle); }));
}

// The hazard of pages handed out by reference (BASELINES): the receiver's queue still points at
// them after the sender has moved on. Renewed before they are written again, they keep their bytes.
TEST_P(StreamPortSuite, RenewedMemoryDoesNotChangeWhatIsUnderWay) {
  const Pair pair = open_stream();
  server_->port->set_reading(pair.server, false);
  for (int i = 0; i < 5; ++i)
    turn();
  Pages pages(512 * 1024);
  pages.fill(41);
  const std::vector<std::byte> original(pages.data(), pages.data() + pages.size());
  const SendPart part{pages.data(), static_cast<std::uint32_t>(pages.size()),
                      SendPart::Kind::hot_slab};
  const SendResult result = client_->port->try_send(pair.client, {&part, 1});
  ASSERT_GT(result.accepted, 64u * 1024);
  EXPECT_EQ(result.exposed, GetParam().by_reference);
  for (int i = 0; i < 20; ++i)
    turn();
  pages.renew();
  pages.fill(43);
  server_->port->set_reading(pair.server, true);
  ASSERT_TRUE(
      until([&] { return server_->streams[pair.server.value].data.size() == result.accepted; }));
  const auto& got = server_->streams[pair.server.value].data;
  EXPECT_TRUE(std::equal(got.begin(), got.end(), original.begin()));
}

// Each 64 KiB of headers and more: the header ring goes round several times, its pages still
// referred to.
TEST_P(StreamPortSuite, HeadersBetweenHotSlabsKeepTheirBytes) {
  const Pair pair = open_stream();
  Pages pages(64 * 1024);
  pages.fill(47);
  std::vector<std::byte> expected;
  std::vector<std::byte> header = random_bytes(53, 600);
  std::size_t writable = 0;
  bool blocked = false;
  constexpr std::size_t kTotal = 60u << 20;
  std::size_t total = 0;
  ASSERT_TRUE(until([&] {
    Seen& sender = client_->streams[pair.client.value];
    Seen& seen = server_->streams[pair.server.value];
    const std::size_t ready = std::min(seen.data.size(), expected.size());
    if (!std::equal(seen.data.begin(), seen.data.begin() + ready, expected.begin())) return true;
    seen.data.erase(seen.data.begin(), seen.data.begin() + ready);
    expected.erase(expected.begin(), expected.begin() + ready);
    if (blocked && sender.writable == writable) return false;
    blocked = false;
    if (total >= kTotal) return expected.empty();
    for (std::byte& b : header)
      b = static_cast<std::byte>(static_cast<unsigned>(b) + 1);
    std::vector<SendPart> parts;
    std::size_t wanted = 0;
    for (int i = 0; i < 40; ++i) {
      parts.push_back({header.data(), 600, SendPart::Kind::small});
      parts.push_back({pages.data() + 1000 * i, 3000, SendPart::Kind::hot_slab});
      wanted += 3600;
    }
    const SendResult result = client_->port->try_send(pair.client, parts);
    std::size_t left = result.accepted;
    for (const SendPart& p : parts) {
      const std::size_t n = std::min<std::size_t>(left, p.length);
      expected.insert(expected.end(), p.data, p.data + n);
      left -= n;
    }
    total += result.accepted;
    if (result.accepted < wanted) {
      blocked = true;
      writable = sender.writable;
    }
    return false;
  }));
  EXPECT_TRUE(expected.empty());
}

TEST_P(StreamPortSuite, FewEventsAtATimeLoseNone) {
  const Pair pair = open_stream();
  const auto bytes = random_bytes(59, 400'000);
  std::size_t sent = 0;
  const Instant deadline = world_->now() + Duration::seconds(20);
  while (server_->streams[pair.server.value].data.size() < bytes.size()) {
    ASSERT_LT(world_->now(), deadline);
    if (sent < bytes.size()) sent += send(*client_, pair.client, bytes, sent);
    world_->step();
    server_->poll(world_->now(), 1);
    client_->poll(world_->now(), 1);
  }
  EXPECT_TRUE(server_->streams[pair.server.value].data == bytes);
}

INSTANTIATE_TEST_SUITE_P(Ports, StreamPortSuite, testing::ValuesIn(stream_flavours()),
                         [](const auto& flavour) { return flavour.param.name; });

}  // namespace
}  // namespace penstock::conformance
