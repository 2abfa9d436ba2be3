// What a session is allowed and allows: fixed when the program starts, shared by all sessions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.hh"

namespace penstock {

struct SessionLimits {
  // What our handshakes carry: "-PS0100-" and 12 random characters (BEP 20), one a process, by
  // which a connection to ourselves is known.
  std::array<std::byte, 20> peer_id{};
  bool fast = true;               // offer BEP 6
  bool extensions = true;         // offer BEP 10
  std::uint16_t listen_port = 0;  // told in the extension handshake; 0: not told

  // Requests that one peer may have outstanding; advertised as `reqq`. 1,024 are 16 MiB: the
  // bandwidth-delay product of 1 Gbit/s at 130 ms.
  std::uint32_t requests_max = 1024;
  // Requests beyond that which are rejected (BEP 6) or passed over, and those taken back by CANCEL,
  // before it counts as an attack. Every block sent forgives one. Clients that know no reqq stop at
  // a few hundred.
  std::uint32_t requests_excess_max = 2048;

  Duration handshake_timeout = Duration::seconds(10);
  // BEP 3: keepalives every two minutes; a peer gets one and a half times that.
  Duration keepalive_interval = Duration::seconds(110);
  Duration silence_timeout = Duration::seconds(180);
  // A message once begun; also the least speed of a PIECE: 16 KiB in a minute.
  Duration message_timeout = Duration::seconds(60);
  // It asked for data and takes none: looked at this often, counted from the first look.
  Duration stall_timeout = Duration::seconds(45);
  // How long a peer that needs nothing from us stays (BEP 21): time for its last messages.
  Duration redundant_timeout = Duration::seconds(5);
  bool close_redundant = true;

  // Small messages that aren't requests for data (HAVE, once for each piece, is free).
  std::uint32_t messages_per_second = 100;
  std::uint32_t messages_burst = 2000;
  // Messages of unknown kinds, and extended ones that we did not offer; one more each for every
  // KiB.
  std::uint32_t unknown_per_second = 10;
  std::uint32_t unknown_burst = 512;
  // Hash requests (BEP 52); beyond: rejected. A leaf request costs a piece read from disk.
  std::uint32_t hash_requests_per_second = 64;
  std::uint32_t hash_requests_burst = 1024;
  std::uint32_t leaf_requests_per_second = 1;
  std::uint32_t leaf_requests_burst = 16;
  // Times that one peer may have the whole info dictionary (BEP 9).
  std::uint32_t metadata_rounds_max = 3;
};

}  // namespace penstock
