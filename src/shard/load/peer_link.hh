// A LoadLink that speaks BitTorrent: peer::Session in the leecher's role.
#pragma once

#include <vector>

#include "peer/session.hh"
#include "shard/load/link.hh"

namespace penstock {

class PeerLink final : public LoadLink {
 public:
  // torrent outlives the link. Each link has a peer id of its own in its limits: clients close a
  // second connection of a peer that they know. pages: for `depth` requests. interested: ask to be
  // unchoked.
  PeerLink(const SessionLimits& limits, std::uint32_t pages, const Torrent& torrent,
           bool interested);

  void open(Instant now, const Endpoint& remote) override;
  void reset() override { session_.reset(); }
  void on_data(Instant now, std::span<const std::byte> data) override;
  bool poll_event(LinkEvent& event) override;
  void on_stream_closed(StreamError error) override { session_.on_stream_closed(error); }
  void set_send_blocked(Instant now, bool blocked) override {
    session_.set_send_blocked(now, blocked);
  }
  [[nodiscard]] Instant next_timeout() const override { return session_.next_timeout(); }
  void on_timeout(Instant now) override {
    now_ = now;
    session_.on_timeout(now);
  }

  [[nodiscard]] bool has(PieceIndex piece) const override;
  bool try_request(Instant now, const Request& request) override {
    return session_.request(now, request);
  }

  [[nodiscard]] bool output_pending() const override { return session_.small_pending(); }
  SmallFill fill_output(Instant now, std::span<std::byte> scratch,
                        std::span<SendPart> parts) override {
    return session_.fill_small(now, scratch, parts);
  }
  void on_output_sent(Instant now, std::size_t bytes) override {
    session_.on_small_sent(now, bytes);
  }

 private:
  void set_have(PieceIndex piece, bool have);
  void set_bits(PieceIndex first, std::span<const std::byte> bits);
  // True when `out` is filled: most events are the link's own business.
  bool translate(const SessionEvent& event, LinkEvent& out);

  SessionShared shared_;
  const Torrent& torrent_;
  const bool interested_;
  Instant now_{};  // of the latest input: answers given while polling belong to it
  Session session_;
  bool have_everything_ = false;
  std::vector<std::uint8_t> have_;  // one a piece, of the constructor's size
};

}  // namespace penstock
