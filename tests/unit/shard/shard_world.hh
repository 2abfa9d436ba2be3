// Whole shards with scripted peers, in virtual time.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "crypto/merkle.hh"
#include "shard/shard.hh"
#include "support/memory_streams.hh"
#include "support/virtual_clock.hh"
#include "swarm/hash_forest.hh"
#include "test_torrent.hh"
#include "wire/peer_wire.hh"

namespace penstock {

using support::MemoryNetwork;
using support::MemoryStreams;
using wire::MessageId;

using Bytes = std::vector<std::byte>;

template <class Container>
void append(Bytes& out, const Container& bytes) {
  const auto* p = reinterpret_cast<const std::byte*>(std::data(bytes));
  out.insert(out.end(), p, p + std::size(bytes));
}

inline std::array<std::byte, 20> id_of(char c) {
  std::array<std::byte, 20> id;
  id.fill(static_cast<std::byte>(c));
  return id;
}

class SilentParker final : public Parker {
 public:
  void wake() override {}
};

// A peer that says what it is told to, and keeps what it hears.
class ScriptedPeer {
 public:
  ScriptedPeer(MemoryStreams& port, const Endpoint& remote) : port_(port) {
    EXPECT_TRUE(port_.connect(remote, IpAddress{}, stream_));
  }
  void handshake(const WireInfoHash& hash) {
    Bytes bytes;
    append(bytes, wire::encode_handshake({.capabilities = {.extended = false, .fast = true},
                                          .info_hash = hash,
                                          .peer_id = id_of('P')}));
    append(bytes, wire::encode_simple(MessageId::interested));
    say(bytes);
  }
  void say(const Bytes& bytes) { unsent_.insert(unsent_.end(), bytes.begin(), bytes.end()); }
  void request(PieceIndex piece, std::uint32_t begin, std::uint32_t length) {
    Bytes bytes;
    append(bytes, wire::encode_block(MessageId::request, piece, begin, length));
    say(bytes);
  }
  void read(bool on) { port_.set_reading(stream_, on); }
  void step(Instant now) {
    StreamEvent events[16];
    const std::size_t count = port_.poll_events(now, std::span(events).first(burst));
    for (const StreamEvent& event : std::span(events).first(count)) {
      connected |= event.kind == StreamEvent::Kind::connected;
      closed |= event.kind == StreamEvent::Kind::closed;
      heard.insert(heard.end(), event.data.begin(), event.data.end());
    }
    if (!connected || closed || unsent_.empty()) return;
    const SendPart part{unsent_.data(), static_cast<std::uint32_t>(unsent_.size()),
                        SendPart::Kind::small};
    const std::size_t n = port_.try_send(stream_, std::span(&part, 1)).accepted;
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(n));
  }
  // How many messages of a kind it heard, behind the handshake.
  [[nodiscard]] std::size_t count(MessageId id) const {
    std::size_t n = 0;
    for (std::size_t at = wire::kHandshakeSize; at + 5 <= heard.size();) {
      const std::uint32_t length = load_be32(heard.data() + at);
      if (length > 0 && heard[at + 4] == static_cast<std::byte>(id)) ++n;
      at += 4 + length;
    }
    return n;
  }

  // The blocks that it heard, by (piece, begin).
  [[nodiscard]] std::map<std::pair<std::uint32_t, std::uint32_t>, Bytes> blocks() const {
    std::map<std::pair<std::uint32_t, std::uint32_t>, Bytes> out;
    for (std::size_t at = wire::kHandshakeSize; at + 13 <= heard.size();) {
      const std::uint32_t length = load_be32(heard.data() + at);
      if (at + 4 + length > heard.size()) break;
      const std::byte* const body = heard.data() + at + 4;
      if (length > 9 && body[0] == static_cast<std::byte>(MessageId::piece)) {
        out[{load_be32(body + 1), load_be32(body + 5)}] = Bytes(body + 9, body + length);
      }
      at += 4 + length;
    }
    return out;
  }

  bool connected = false;
  bool closed = false;
  std::size_t burst = 16;  // events that it takes in a step
  Bytes heard;

 private:
  MemoryStreams& port_;
  StreamHandle stream_;
  Bytes unsent_;
};

struct WorldOptions {
  std::uint32_t connections_max = 64;
  std::uint16_t shards = 1;
  std::uint64_t upload_rate = 0;
  std::uint32_t window = 256 * 1024;  // of a stream
  std::uint32_t wants_max = 8192;
  std::uint32_t kept_parts_max = 0;  // not 0: the streams keep payload
  bool short_sends = false;
  std::uint64_t seed = 1;
};

class ShardWorld {
 public:
  explicit ShardWorld(const WorldOptions& options)
      : network_(
            clock,
            {.seed = options.seed, .window = options.window, .short_sends = options.short_sends}),
        exchange_(options.shards, 1024) {
    for (std::uint16_t i = 0; i < options.shards; ++i) {
      constexpr std::uint32_t kSlabs = 256;
      memory_.emplace_back(
          static_cast<std::byte*>(std::aligned_alloc(kPageSize, std::size_t{kSlabs} * kSlabSize)));
      disks.push_back(std::make_unique<TestDisk>());
      const StoreLimits limits{.shard = ShardId(i), .wants_max = options.wants_max};
      stores_.push_back(std::make_unique<Store>(
          Arena({memory_.back().get(), std::size_t{kSlabs} * kSlabSize}), limits));
      const ShardLimits shard_limits{.connections_max = options.connections_max,
                                     .torrents_max = 16,
                                     .upload_rate = options.upload_rate,
                                     .kept_parts_max = options.kept_parts_max};
      MemoryStreams& streams = network_.add_port(
          address(i),
          {.streams_max = shard_limits.streams_max(), .keeps = options.kept_parts_max > 0});
      ports.push_back(&streams);
      exchange_.doorbell(ShardId(i)).parker = &parker_;
      shards.push_back(std::make_unique<Shard>(
          ShardId(i), shard_limits, SessionLimits{.peer_id = id_of('S')}, streams, *disks.back(),
          exchange_, *stores_.back(), 1, clock.time()));
    }
  }
  ~ShardWorld() {
    shards.clear();
    stores_.clear();
  }

  // One file of random bytes; its first hash is all ones.
  void add_torrent(std::uint64_t length, std::uint32_t piece_size, Hashes hashes,
                   VerifyMode verify = VerifyMode::lazy) {
    add_torrent(std::vector<TestFile>{{length}}, piece_size, hashes, verify);
  }
  void add_torrent(const std::vector<TestFile>& files, std::uint32_t piece_size, Hashes hashes,
                   VerifyMode verify = VerifyMode::lazy) {
    const std::uint64_t length = files[0].length;
    Random random(1);
    torrent_ = make_torrent(*disks[0], "t", piece_size, files, hashes, random, verify, PoolIndex(0),
                            static_cast<std::uint32_t>(shards.size()));
    for (auto& disk : disks)
      disk->files = disks[0]->files;
    Torrent& t = shared_.torrent;
    t.hash_list[0].bytes.fill(std::byte{1});
    t.hash_count = 1;
    t.blocks = torrent_.content->blocks;
    t.pieces = torrent_.content->pieces.get();
    if (hashes == Hashes::v2) {
      MerkleHasher hasher;
      const MerkleShape shape = MerkleShape::of(length, piece_size);
      root = hasher.root_of_piece_layer(shape, torrent_.content->v2_pieces);
      const HashForest::File file{root, length, PieceIndex(0), torrent_.content->v2_pieces};
      forest_ = std::make_unique<HashForest>(std::span(&file, 1), piece_size);
      t.forest = forest_.get();
      t.has_v2 = true;
    }
    bytes_ = torrent_.bytes;
    shared_.content = std::move(torrent_.content);
    shared_.counters = std::make_unique<TorrentCounters[]>(shards.size());
    for (std::uint16_t i = 0; i < shards.size(); ++i) {
      EXPECT_TRUE(exchange_.to_shard(ShardId(i))
                      .try_send({.kind = ControlMessage::Kind::add_torrent, .torrent = &shared_}));
    }
  }
  ScriptedPeer& add_peer(ShardId shard = ShardId(0)) {
    const auto number = static_cast<std::uint8_t>(peers_.size() + 1);
    MemoryStreams& port = network_.add_port({IpAddress::v4(10, 1, 0, number), 7000},
                                            {.streams_max = 4, .listening = false});
    peers_.push_back(std::make_unique<ScriptedPeer>(port, address(shard.value)));
    return *peers_.back();
  }
  void set_torrent_rate(std::uint64_t rate) {
    for (std::uint16_t i = 0; i < shards.size(); ++i) {
      EXPECT_TRUE(exchange_.to_shard(ShardId(i))
                      .try_send({.kind = ControlMessage::Kind::set_torrent_rate,
                                 .torrent = &shared_,
                                 .value = rate}));
    }
  }
  // As a runner would: sleeps only until something is due.
  void run(Duration time) {
    const Instant until = clock.time() + time;
    while (clock.time() < until) {
      bool busy = false;
      for (auto& shard : shards) {
        shard->do_work(clock.time());
        ++cycles;
      }
      for (auto& peer : peers_)
        peer->step(clock.time());
      Instant next = earlier(network_.next_event(), until);
      for (auto& shard : shards) {
        shard->validate();
        busy |= shard->work_left() || shard->mail_waiting();
        next = earlier(next, shard->next_timeout(clock.time()));
      }
      for (std::size_t i = 0; i < disks.size(); ++i)
        busy |= disks[i]->ready() > 0;
      const Instant soon = clock.time() + Duration::microseconds(1);
      clock.advance_to(busy ? soon : std::max(next, soon));
    }
  }
  void cycle() {
    shards[0]->do_work(clock.time());
    shards[0]->validate();
    for (auto& peer : peers_)
      peer->step(clock.time());
    clock.advance_to(clock.time() + Duration::microseconds(1));
  }
  [[nodiscard]] std::uint64_t closes(CloseReason reason) const {
    return shards[0]->counters().closes[static_cast<std::size_t>(reason)].load();
  }
  // Withdraws the torrent; told() counts the shards that have forgotten it.
  void remove_torrent() {
    for (std::uint16_t i = 0; i < shards.size(); ++i) {
      EXPECT_TRUE(
          exchange_.to_shard(ShardId(i))
              .try_send({.kind = ControlMessage::Kind::remove_torrent, .torrent = &shared_}));
    }
  }
  std::uint32_t told() {
    std::uint32_t count = 0;
    ShardReport report;
    for (std::uint16_t i = 0; i < shards.size(); ++i) {
      while (exchange_.from_shard(ShardId(i)).try_receive(report))
        count += report.kind == ShardReport::Kind::torrent_removed ? 1 : 0;
    }
    return count;
  }
  // Whether the peer heard exactly these blocks' bytes.
  [[nodiscard]] bool right(const ScriptedPeer& peer) const {
    const auto blocks = peer.blocks();
    return std::all_of(blocks.begin(), blocks.end(), [&](const auto& block) {
      const std::byte* const wanted =
          bytes_.data() + std::uint64_t{block.first.first} * content().blocks.piece_size +
          block.first.second;
      return std::equal(block.second.begin(), block.second.end(), wanted);
    });
  }
  [[nodiscard]] const WireInfoHash& hash() const { return shared_.torrent.hash_list[0]; }
  [[nodiscard]] const TorrentContent& content() const { return *shared_.content; }

  support::VirtualClock clock;
  std::vector<std::unique_ptr<TestDisk>> disks;
  std::vector<std::unique_ptr<Shard>> shards;
  std::vector<MemoryStreams*> ports;
  Sha256Digest root;
  std::uint64_t cycles = 0;

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  static Endpoint address(std::uint16_t shard) {
    return {IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(1 + shard)), 6881};
  }

  MemoryNetwork network_;
  Exchange exchange_;
  SilentParker parker_;
  std::vector<std::unique_ptr<std::byte, Free>> memory_;
  std::vector<std::unique_ptr<Store>> stores_;
  TestTorrent torrent_;
  std::unique_ptr<HashForest> forest_;
  Bytes bytes_;
  ShardTorrent shared_;
  std::vector<std::unique_ptr<ScriptedPeer>> peers_;
};

}  // namespace penstock
