// A host of the simulator that only sends and receives in bulk, as fast as its stack lets it, and
// is watched closely: what its stack allocates after construction, and the time it takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "net/stack.hh"
#include "support/sim_link.hh"

namespace penstock::test {

// The device as the stack sees it; what it allocates isn't counted.
class WatchedNic final : public net::NicPort {
 public:
  explicit WatchedNic(net::NicPort& nic) : nic_(nic) {}
  [[nodiscard]] const net::NicInfo& info() const override { return nic_.info(); }
  std::size_t rx_burst(std::span<net::RxFrame> out) override;
  std::size_t tx_burst(std::span<const net::TxFrame> frames) override;
  [[nodiscard]] std::uint64_t frames_in() const { return frames_in_; }

 private:
  net::NicPort& nic_;
  std::uint64_t frames_in_ = 0;
};

struct BulkOptions {
  net::StackOptions stack;
  // How a host that is busy looks at its port: after so long, and so much later for each frame
  // that it had to look at.
  Duration lag;
  Duration frame_cost;
  std::uint64_t sends = ~std::uint64_t{0};         // on each stream, bytes
  std::uint64_t closes_after = ~std::uint64_t{0};  // that many bytes came
  Duration shed_every{};                           // 0: never
};

class BulkHost {
 public:
  struct Stream {
    StreamHandle handle;
    Endpoint remote;
    bool open = false;
    bool closed = false;
    bool blocked = false;
    StreamError error = StreamError::none;
    std::uint64_t closes_after = 0;
    std::uint64_t accepted = 0;
    std::uint64_t received = 0;
    Instant opened;
  };

  BulkHost(support::SimLink& link, int side, const BulkOptions& options);
  ~BulkHost();
  BulkHost(const BulkHost&) = delete;
  BulkHost& operator=(const BulkHost&) = delete;

  std::size_t connect(const Endpoint& remote, std::uint64_t closes_after = ~std::uint64_t{0});
  // One cycle, if it is time for one.
  void step(Instant now);
  [[nodiscard]] Instant next(Instant now) const;

  [[nodiscard]] const std::vector<Stream>& streams() const { return streams_; }
  [[nodiscard]] net::Stack& stack() { return *stack_; }
  // By the stack, since it was built.
  [[nodiscard]] std::uint64_t allocations() const { return allocations_; }
  // Of the real clock, in the stack.
  [[nodiscard]] std::chrono::nanoseconds spent() const { return spent_; }
  [[nodiscard]] const std::string& wrong() const { return wrong_; }
  [[nodiscard]] std::uint64_t pins_held() const { return pins_given_ - pins_released_; }
  [[nodiscard]] std::uint64_t needs() const { return needs_; }
  // What a stream carries at `position`, to at most 64 KiB further.
  static const std::byte* content(std::uint64_t position);

 private:
  template <class Call>
  auto in_stack(Call call);
  void on_event(Instant now, const StreamEvent& event);
  void send(Stream& stream);
  Stream* find(StreamHandle handle);

  support::SimLink& link_;
  const int side_;
  const BulkOptions options_;
  WatchedNic nic_;
  std::unique_ptr<net::Stack> stack_;
  std::vector<Stream> streams_;
  Instant due_{};
  Instant sheds_next_ = Instant::never();
  std::uint64_t allocations_ = 0;
  std::chrono::nanoseconds spent_{};
  std::uint64_t pins_given_ = 0;
  std::uint64_t pins_released_ = 0;
  std::uint64_t needs_ = 0;
  std::string wrong_;
};

}  // namespace penstock::test
