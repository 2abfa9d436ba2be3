// What an application does with one connection, and what it must be told: bytes in order and none
// twice, events in their order, every pin released once.
//
// Content lies in memory of its own, one allocation a pin, which goes with `released`: whoever
// reads it later is caught by AddressSanitizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "stream/byte_stream.hh"
#include "tcp/connection.hh"

namespace penstock::fuzz {

// Bytes [0, kStreamSize) of either direction; nothing goes beyond.
inline constexpr std::uint32_t kStreamSize = 1 << 19;
[[nodiscard]] std::span<const std::byte> stream_bytes(unsigned key);

class Application {
 public:
  // Sends the stream `out`, expects the stream `in`.
  Application(tcp::Connection& connection, unsigned out, unsigned in)
      : connection_(&connection), out_(out), in_(in) {}

  enum class Kind : std::uint8_t { small, unpinned_slab, block };
  // A block is 13 small bytes and two slabs of one pin. Returns what was taken.
  std::size_t write(Instant now, std::uint32_t length, Kind kind);
  void read(Instant now, bool on);
  void close(Instant now);
  void abort(Instant now);
  void shed();
  // Answers the oldest `need`; lost: with nothing.
  void answer(Instant now, bool lost);
  // Takes the events that there are.
  void drain();
  // Nothing may be left of it.
  void check_ended() const;

  std::uint32_t accepted = 0;
  std::uint32_t delivered = 0;
  bool connected = false;
  bool ended = false;  // by the peer
  bool over = false;
  bool closing = false;
  bool aborted = false;
  bool lost_content = false;
  bool reading = true;
  StreamError error = StreamError::none;
  struct Need {
    std::uint64_t pin;
    ContentRef content;
  };
  std::deque<Need> needs;

 private:
  using Memory = std::unique_ptr<std::byte[]>;
  struct Pin {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    unsigned holds = 0;  // `released` that are due
    std::vector<Memory> memory;
  };

  void on_event(const tcp::Event& event);
  void on_released(std::uint64_t pin);
  Memory copy_of(std::uint32_t begin, std::uint32_t length) const;
  std::size_t write_block(Instant now, std::uint32_t length);

  tcp::Connection* connection_;
  unsigned out_;
  unsigned in_;
  std::uint64_t next_pin_ = 1;
  bool short_write_ = false;
  bool shed_ever_ = false;
  std::map<std::uint64_t, Pin> pins_;
};

}  // namespace penstock::fuzz
