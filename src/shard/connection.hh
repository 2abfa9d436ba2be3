// What a shard keeps for one peer, and the pools that it comes from. Private to shard/.
#pragma once

#include <memory>

#include "shard/shard.hh"

namespace penstock {

// Names a slot of a connection's window in a want, across shards and through the store.
struct Token {
  std::uint16_t shard = 0;       // 8 bits
  std::uint32_t connection = 0;  // 24 bits
  std::uint32_t generation = 0;  // 24 bits
  std::uint8_t slot = 0;

  [[nodiscard]] std::uint64_t pack() const {
    return std::uint64_t{shard} << 56 | std::uint64_t{connection} << 32 |
           std::uint64_t{generation} << 8 | slot;
  }
  static Token unpack(std::uint64_t v) {
    return {static_cast<std::uint16_t>(v >> 56), static_cast<std::uint32_t>(v >> 32 & 0xffffff),
            static_cast<std::uint32_t>(v >> 8 & 0xffffff), static_cast<std::uint8_t>(v)};
  }
};

// Invariants: live ⇔ in use; in the active ring ⇔ next_active != nullptr; window only while it has
// blocks under way.
struct Shard::Connection {
  Session session;
  StreamHandle stream;
  TimerWheel::Node timer;
  Connection* next_active = nullptr;
  Connection* prev_active = nullptr;
  ShardTorrent* torrent = nullptr;  // after the handshake
  UploadWindow* window = nullptr;
  Endpoint remote;
  std::uint64_t uploaded = 0;    // payload bytes
  std::uint32_t index = 0;       // in the pool
  std::uint32_t generation = 0;  // of this use, 24 bits
  std::uint32_t pending = 0;     // window slots that wait for the store
  bool live = false;
  bool writable = true;  // the last try_send took everything
  bool doomed = false;   // to be closed at the end of this step
};

}  // namespace penstock
