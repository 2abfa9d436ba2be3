// The torrents that a shard serves, by info-hash.
//
// A ShardTorrent is built by control and handed to every shard by message; a shard inserts it in
// its own table and answers. Removal is the same the other way: control frees it only after every
// shard has said that nothing there refers to it, so no shard ever reads a freed torrent and no
// lock or grace period is needed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/digest.hh"
#include "base/endian.hh"
#include "store/content.hh"
#include "swarm/rate_limiter.hh"
#include "swarm/torrent.hh"

namespace penstock {

// What one shard keeps of one torrent. Written by that shard alone; control reads the atomics,
// relaxed.
struct alignas(64) TorrentCounters {
  std::atomic<std::uint64_t> uploaded{0};  // payload bytes, PIECE headers not counted
  std::atomic<std::uint32_t> peers{0};     // sessions past the handshake
  // Touched by the shard only: shards that will send no more wants for it, and shards that were
  // told the same by this one.
  std::uint32_t fences = 0;
  std::uint32_t fences_sent = 0;

  // Single writer: a plain add, visible to readers.
  void add_uploaded(std::uint64_t n) {
    uploaded.store(uploaded.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

static_assert(sizeof(TorrentCounters) == 64);  // a line for each shard

struct ShardTorrent {
  std::uint64_t id = 0;  // control's name for it
  std::unique_ptr<TorrentContent> content;
  Torrent torrent;                              // what sessions see; points into content
  std::unique_ptr<TorrentCounters[]> counters;  // one a shard
  TokenBucket bucket;                           // the torrent's upload limit
};

// Open addressing, linear probing, sized once for twice the torrents allowed (each may have two
// info-hashes).
class TorrentTable {
 public:
  explicit TorrentTable(std::uint32_t torrents_max) {
    std::size_t size = 16;
    while (size < std::size_t{torrents_max} * 4)
      size *= 2;
    slots_.resize(size);
  }

  [[nodiscard]] ShardTorrent* find(const WireInfoHash& hash) const {
    for (std::size_t i = start(hash);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].torrent == nullptr) return nullptr;
      if (slots_[i].hash == hash) return slots_[i].torrent;
    }
  }
  // False when full; the caller sized the table wrong.
  bool insert(const WireInfoHash& hash, ShardTorrent* torrent) {
    if ((used_ + 1) * 2 > slots_.size()) return false;
    std::size_t i = start(hash);
    while (slots_[i].torrent != nullptr)
      i = (i + 1) & (slots_.size() - 1);
    slots_[i] = {hash, torrent};
    ++used_;
    return true;
  }
  void erase(const WireInfoHash& hash) {
    const std::size_t mask = slots_.size() - 1;
    std::size_t hole = start(hash);
    while (slots_[hole].torrent != nullptr && slots_[hole].hash != hash)
      hole = (hole + 1) & mask;
    if (slots_[hole].torrent == nullptr) return;
    --used_;
    // Backward-shift deletion: no tombstones.
    for (std::size_t next = (hole + 1) & mask; slots_[next].torrent != nullptr;
         next = (next + 1) & mask) {
      const std::size_t home = start(slots_[next].hash);
      if (((next - home) & mask) >= ((next - hole) & mask)) {
        slots_[hole] = slots_[next];
        hole = next;
      }
    }
    slots_[hole] = {};
  }
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  struct Slot {
    WireInfoHash hash;
    ShardTorrent* torrent = nullptr;
  };
  // Info-hashes are chosen by strangers only through the operator's own torrents: the first bytes
  // do as a hash.
  [[nodiscard]] std::size_t start(const WireInfoHash& hash) const {
    return static_cast<std::size_t>(load_be64(hash.bytes.data())) & (slots_.size() - 1);
  }
  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

}  // namespace penstock
