// A LoadLink that speaks HTTP/1.1 to a web server: pipelined GETs of ranges. For nginx as the
// reference that BitTorrent seeds are compared with; loaded by the same receiver.
#pragma once

#include <deque>
#include <string>

#include "shard/load/link.hh"

namespace penstock {

class HttpLink final : public LoadLink {
 public:
  // path: "/file". range_size: how a request's piece becomes an offset, bytes.
  HttpLink(std::string path, std::string host, std::uint32_t range_size);

  void open(Instant now, const Endpoint& remote) override;
  void reset() override;
  void on_data(Instant now, std::span<const std::byte> data) override;
  bool poll_event(LinkEvent& event) override;
  void on_stream_closed(StreamError error) override;
  void set_send_blocked(Instant, bool) override {}
  [[nodiscard]] Instant next_timeout() const override { return Instant::never(); }
  void on_timeout(Instant) override {}

  [[nodiscard]] bool has(PieceIndex) const override { return true; }
  bool try_request(Instant now, const Request& request) override;

  [[nodiscard]] bool output_pending() const override { return !output_.empty(); }
  SmallFill fill_output(Instant now, std::span<std::byte> scratch,
                        std::span<SendPart> parts) override;
  void on_output_sent(Instant now, std::size_t bytes) override;

 private:
  // Takes header bytes from the input; true when one is whole.
  bool read_header();
  bool fail(const char* reason, LinkEvent& event);

  const std::string path_;
  const std::string host_;
  const std::uint32_t range_size_;
  std::span<const std::byte> input_;
  std::string header_;  // of the answer that is being read
  std::string output_;
  std::deque<Request> outstanding_;
  std::uint64_t body_left_ = 0;  // bytes
  const char* closed_ = nullptr;
  bool opened_ = false;
  bool ready_ = false;  // `ready` was said
};

}  // namespace penstock
