// What a load generator is asked to do, and what it counts: plain structs that the command, the
// engine (shard/load_generator.hh) and its runner (app/) share.
#pragma once

#include <cstdint>
#include <string>

#include "base/address.hh"

namespace penstock {

enum class LoadPattern : std::uint8_t {
  pieces,      // whole pieces in random order, each block by block: what downloading clients do
  blocks,      // random single blocks: the hardest pattern for a cache and a disk
  sequential,  // all pieces in order, round and round, every connection from a place of its own
};

struct LoadPlan {
  Endpoint peer;
  std::uint32_t connections = 10;  // 1 …
  std::uint32_t depth = 40;        // requests outstanding a connection; 0: connect and stay idle
  LoadPattern pattern = LoadPattern::pieces;
  // Zipf's exponent: some pieces are asked for more often than others. 0: all alike. Not
  // sequential.
  double zipf = 0;
  // Connections come from addresses of their own: the prefix's second address, the third, …; some
  // clients allow one connection an address. 0 bits: the system chooses.
  IpAddress source;
  std::uint32_t source_bits = 0;  // of 128 (IPv4: 96 + its own)
  // Open loop: bytes of requests a second over all connections, each timed from when it was due
  // whether or not there was room for it (no coordinated omission). 0: closed loop.
  std::uint64_t rate = 0;
  std::uint32_t churn = 0;  // connections closed, and others opened, a second
  bool verify = false;      // assemble pieces and check their hashes
  std::uint64_t random_seed = 1;
  // HTTP/1.1 instead of BitTorrent (for a web server as the reference): GETs of this path's ranges
  // of range_size bytes, `depth` of them pipelined. Empty: BitTorrent.
  std::string http_path;
  std::uint32_t range_size = 1u << 20;
};

struct LoadCounters {
  std::uint64_t payload_bytes = 0;   // of blocks, as they arrive
  std::uint64_t received_bytes = 0;  // of the streams, protocol included
  std::uint64_t blocks = 0;          // complete ones
  std::uint64_t requests = 0;
  std::uint64_t rejects = 0;
  std::uint64_t chokes = 0;
  std::uint64_t overdue = 0;      // open loop: requests due for which no connection has room, now
  std::uint64_t connects = 0;     // tried
  std::uint64_t handshakes = 0;   // came through
  std::uint64_t closes = 0;       // by the peer or by an error, churn excluded
  std::uint64_t pieces_good = 0;  // verify: hash as the torrent says
  std::uint64_t pieces_bad = 0;
};

}  // namespace penstock
