// A connection of the load generator as its engine sees it: asks for ranges, gets their bytes.
// Virtual per burst of bytes, sans-IO, as peer/session.hh is; BitTorrent (PeerLink) or HTTP
// (HttpLink) behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/strong.hh"
#include "base/time.hh"
#include "peer/request_queue.hh"
#include "peer/session.hh"
#include "stream/byte_stream.hh"

namespace penstock {

struct LinkEvent {
  enum class Kind : std::uint8_t {
    handshaken,
    ready,     // requests may be made
    choked,    // none may be made; those outstanding are still answered or rejected
    bytes,     // `data`: of `request`, from `offset` on; `last`: the request is answered
    rejected,  // `request` will not be answered
    closed,    // `reason`, static: the last event
  };
  Kind kind = Kind::closed;
  bool last = false;
  std::uint32_t offset = 0;
  Request request;
  std::span<const std::byte> data;
  const char* reason = "";
};

class LoadLink {
 public:
  virtual ~LoadLink() = default;
  // The stream is connected. A link can be opened again after `closed` or reset().
  virtual void open(Instant now, const Endpoint& remote) = 0;
  virtual void reset() = 0;
  // Read by the poll_event calls that follow, until false.
  virtual void on_data(Instant now, std::span<const std::byte> data) = 0;
  virtual bool poll_event(LinkEvent& event) = 0;
  virtual void on_stream_closed(StreamError error) = 0;
  virtual void set_send_blocked(Instant now, bool blocked) = 0;
  [[nodiscard]] virtual Instant next_timeout() const = 0;
  virtual void on_timeout(Instant now) = 0;

  // Whether the other side has the piece.
  [[nodiscard]] virtual bool has(PieceIndex piece) const = 0;
  // False: it can't be asked for now.
  virtual bool try_request(Instant now, const Request& request) = 0;

  [[nodiscard]] virtual bool output_pending() const = 0;
  virtual SmallFill fill_output(Instant now, std::span<std::byte> scratch,
                                std::span<SendPart> parts) = 0;
  virtual void on_output_sent(Instant now, std::size_t bytes) = 0;
};

}  // namespace penstock
