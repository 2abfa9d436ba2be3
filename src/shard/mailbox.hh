// How shards talk to one another, and control to them: rings of plain messages, one for each
// ordered pair.
//
// Every ring has one producer thread and one consumer thread. A full ring is backpressure: try_send
// says false, and the sender keeps the message and tries again in a later cycle. Receivers are
// woken once a cycle, not once a message.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/parker.hh"
#include "base/spsc_ring.hh"
#include "base/strong.hh"
#include "store/store.hh"
#include "swarm/rate_limiter.hh"

namespace penstock {

struct ShardTorrent;  // shard/torrent_table.hh

// Between shards: content whose home is elsewhere.
struct ShardMessage {
  enum class Kind : std::uint8_t {
    want,     // to the home: `want`
    ready,    // from the home: the answer to a want; the block is pinned until `release`
    release,  // to the home: the block went out
    fence,    // to every shard: no more wants for `leaving` will come from here (torrents.cc)
  };
  Kind kind = Kind::want;
  WantStatus status = WantStatus::ready;  // ready
  bool exposed = false;                   // release: see Store::release
  BlockWant want;                         // want: what; ready: only the token
  Block block;                            // ready, release
  ShardTorrent* leaving = nullptr;        // fence
};

// From control to a shard.
struct ControlMessage {
  enum class Kind : std::uint8_t {
    add_torrent,       // serve it
    remove_torrent,    // close its sessions and forget it; answered by torrent_removed, after which
                       // control may free it
    piece_lost,        // `value`: tell this shard's peers that the piece is not to be had
    piece_recovered,   // `value`: … and that it is again
    set_rate,          // `value`: bytes per second that all shards may upload; 0: no limit
    set_torrent_rate,  // `value`: the same, of `torrent`
    set_peers_max,  // `value`: low half sessions at once, high half sessions from one address (0:
                    // unlimited)
    stop,           // close all sessions; the shard's runner ends when they are gone
  };
  Kind kind = Kind::stop;
  ShardTorrent* torrent = nullptr;
  std::uint64_t value = 0;
};

// From a shard to control.
struct ShardReport {
  enum class Kind : std::uint8_t { torrent_removed, store_event };
  Kind kind = Kind::torrent_removed;
  ShardTorrent* torrent = nullptr;
  StoreEvent event;
};

// One direction of a pair.
template <class T>
class Mailbox {
 public:
  explicit Mailbox(std::size_t capacity) : ring_(capacity) {}
  bool try_send(const T& message) { return ring_.try_push(message); }
  bool try_receive(T& message) { return ring_.try_pop(message); }
  [[nodiscard]] bool empty() const { return ring_.empty(); }
  // Sender: more than three quarters are free, which is what may yet come of what is accounted for
  // (mail.cc): something else may go in.
  [[nodiscard]] bool roomy() const { return ring_.room() > ring_.capacity() * 3 / 4; }

 private:
  SpscRing<T> ring_;
};

// What wakes a shard: its flag and its driver's parker.
struct Doorbell {
  ParkFlag flag;
  Parker* parker = nullptr;  // set before any thread starts

  void ring_if_parked() {
    if (flag.must_wake()) parker->wake();
  }
};

// All rings of an engine, and its upload limit. Built before the shards' threads start, freed after
// they ended.
class Exchange {
 public:
  // capacity: messages in a ring between two shards, a power of two.
  Exchange(std::uint16_t shard_count, std::size_t capacity);

  [[nodiscard]] std::uint16_t shard_count() const { return shard_count_; }
  // Wants that one shard may have open at another (mail.cc: flow control).
  [[nodiscard]] std::uint32_t wants_open_max() const { return wants_open_max_; }
  Mailbox<ShardMessage>& between(ShardId from, ShardId to) {
    return *between_[std::size_t{from.value} * shard_count_ + to.value];
  }
  Mailbox<ControlMessage>& to_shard(ShardId shard) { return *to_shard_[shard.value]; }
  Mailbox<ShardReport>& from_shard(ShardId shard) { return *from_shard_[shard.value]; }
  Doorbell& doorbell(ShardId shard) { return *doorbells_[shard.value]; }
  TokenBucket& upload_limit() { return upload_limit_; }

 private:
  std::uint16_t shard_count_;
  std::uint32_t wants_open_max_;
  std::vector<std::unique_ptr<Mailbox<ShardMessage>>> between_;
  std::vector<std::unique_ptr<Mailbox<ControlMessage>>> to_shard_;
  std::vector<std::unique_ptr<Mailbox<ShardReport>>> from_shard_;
  std::vector<std::unique_ptr<Doorbell>> doorbells_;
  TokenBucket upload_limit_;
};

}  // namespace penstock
