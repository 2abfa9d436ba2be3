// One connection against a peer, a clock, an application and a device that the input makes up.
//
// The first bytes choose limits and how it is opened. Then steps: a byte of what and its arguments.
// Segments are made around where the connection stands (what it sent and acknowledged), so that
// most are nearly right; payload is always what the peer's stream has at that number. After each
// step the connection validates itself, the application has what it must (application.hh), what it
// sent is what it may send, and its timers don't stand still. In the end the application aborts,
// and nothing of it may be left.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/assert.hh"
#include "fuzz/input.hh"
#include "fuzz/tcp/application.hh"
#include "fuzz/tcp/device.hh"
#include "tcp/options.hh"
#include "tcp/shared.hh"
#include "tcp/time_wait.hh"

namespace {

using namespace penstock;
using fuzz::Application;
using fuzz::Input;
using wire::TcpFlags;

constexpr tcp::SipKey kSecret{1, 2};
constexpr Instant kStart{1'000'000'000'000};

class World {
 public:
  explicit World(Input& input) : in_(input) {
    const std::uint8_t how = in_.byte();
    choose_limits();
    opening_.mss = static_cast<std::uint16_t>(256 << (how & 3));
    opening_.iss = SeqNumber(0U - 16U * in_.byte());
    opening_.ts_offset = 0U - 1000U;
    opening_.irs = irs_ = SeqNumber(0U - 16U * in_.byte());
    burst_ = std::make_unique<tcp::TxBurst>((how & 4) != 0 ? 16'384 : 0);
    shared_ = std::make_unique<tcp::Shared>(limits_, kSecret);
    connection_ = std::make_unique<tcp::Connection>(*shared_);
    application_ = std::make_unique<Application>(*connection_, 0, 1);
    device_ = std::make_unique<fuzz::Device>(0, opening_.iss + 1, opening_.mss);
    una_ = edge_ = opening_.iss + 1;
    acked_ = irs_ + 1;
    peer_timestamps_ = (how & 8) != 0;
    given_.reserve(4'096);
    if ((how & 0x30) == 0) {
      connection_->open_active(now_, opening_);
    } else {
      opening_.peer.has_timestamps = peer_timestamps_;
      opening_.peer.ts_value = peer_clock();
      opening_.peer.sack_permitted = (how & 0x40) != 0;
      opening_.peer.mss = opening_.mss;
      if ((how & 0x80) != 0) opening_.peer.window_shift = shift_ = in_.byte() % 16;
      opening_.peer_window = in_.half();
      opening_.ecn = (how & 0x10) != 0;
      edge_ = una_ + opening_.peer_window;
      connection_->open_passive(now_, opening_, (how & 0x20) != 0);
    }
    settle(false);
  }

  void run() {
    while (!in_.empty() && !application_->over)
      step();
    end();
  }

 private:
  void choose_limits() {
    const std::uint8_t a = in_.byte(), b = in_.byte();
    limits_.connections_max = 1;
    limits_.syn_backlog = limits_.time_wait_max = 1;
    limits_.send_pages = 1U << (a & 7);
    limits_.receive_pages = 1U << (a >> 3 & 7);
    limits_.record_pages = (a & 0x40) != 0 ? 4 : 64;
    limits_.receive_window_first = 2'048U << (b & 3);
    limits_.receive_window = limits_.receive_window_first << (b >> 2 & 3);
    limits_.send_buffer = 1'024U << (b >> 4 & 7);
    limits_.pacing = (b & 0x80) != 0;
    limits_.ecn = (a & 0x80) == 0;
    if ((b & 1) != 0) limits_.keepalive_idle = Duration::seconds(20);
    if ((b & 2) != 0) limits_.keepalive_idle = Duration{};
    limits_.keepalive_interval = Duration::seconds(5);
    limits_.keepalive_probes = 2;
  }

  [[nodiscard]] std::uint32_t peer_clock() const { return tcp::timestamp_clock(now_) - 500'000U; }

  void step() {
    const std::uint8_t what = in_.byte();
    const unsigned more = what >> 3;
    const bool silent = (more & 16) != 0;  // output waits
    switch (what & 7) {
      case 0:
      case 1:
      case 2:
        segment();
        break;
      case 3:
        application_->write(now_, 1U + 61U * in_.byte(), static_cast<Application::Kind>(more % 3));
        break;
      case 4:  // to the next timer, or past it
        now_ =
            std::max(now_, std::min(connection_->next_timeout(), now_ + Duration::seconds(9000)));
        now_ = now_ + Duration::milliseconds((more & 7) * (more & 7) * 4);
        connection_->on_timeout(now_);
        break;
      case 5:
        now_ = now_ + Duration::microseconds(std::int64_t{1} << (more & 15));
        if (connection_->next_timeout() <= now_) connection_->on_timeout(now_);
        break;
      case 6:
        call(more);
        break;
      case 7:
        acknowledge(more);
        break;
    }
    settle(silent);
  }

  void call(unsigned which) {
    switch (which % 12) {
      case 0:
        return application_->read(now_, false);
      case 1:
        return application_->read(now_, true);
      case 2:
        return application_->close(now_);
      case 3:
        return application_->abort(now_);
      case 4:
        return application_->shed();
      case 5:
        return application_->answer(now_, false);
      case 6:
        return application_->answer(now_, in_.byte() == 0);
      case 7:
        slow_ = true;
        return;
      case 8:
        slow_ = false;
        return device_->finish();
      case 9: {
        const SeqNumber quoted = place(una_, device_->sent_end());
        return connection_->on_packet_too_big(now_, quoted, in_.half());
      }
      case 10: {
        const SeqNumber quoted = place(opening_.iss, device_->sent_end());
        return connection_->on_unreachable(now_, quoted);
      }
      case 11:
        ASSERT(connection_->stalled_for(now_) >= Duration{});
        ASSERT(connection_->send_room() <= limits_.send_buffer);
        return;
    }
  }

  // A number near `here` or `there`.
  SeqNumber place(SeqNumber here, SeqNumber there) {
    const std::uint8_t how = in_.byte();
    const auto delta = static_cast<std::uint32_t>((how >> 3) - 16);
    switch (how & 7) {
      case 0:
        return here + delta;
      case 1:
        return here + delta * opening_.mss;
      case 2:
        return here + in_.half();
      case 3:
        return there + delta;
      case 4:
        return there - in_.half();
      case 5:
        return SeqNumber(in_.word());
      case 6:
        return here;
      default:
        return there;
    }
  }

  void timestamps(wire::TcpOptions& options, unsigned how) {
    options.has_timestamps = peer_timestamps_ != ((how & 15) == 15);
    options.ts_value = peer_clock();
    if ((how & 3) == 1) options.ts_value -= 1;
    if ((how & 3) == 2) options.ts_value = in_.word();
    options.ts_echo = last_stamp_;
    if ((how >> 2 & 3) == 1) options.ts_echo -= in_.byte();
    if ((how >> 2 & 3) == 2) options.ts_echo = in_.word();
  }

  void sacks(wire::TcpOptions& options, std::uint8_t count) {
    options.sack_count = count;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t at = in_.byte(), length = in_.byte();
      const std::uint32_t unit = (length & 0x80) != 0 ? 1 : segment_payload();
      options.sacks[i].begin = una_ + at * unit;
      options.sacks[i].end = options.sacks[i].begin + (length & 0x7f) * unit;
    }
  }

  [[nodiscard]] std::uint32_t segment_payload() const {
    return opening_.mss - (peer_timestamps_ ? 12U : 0U);
  }

  void segment() {
    wire::TcpSegment s;
    s.flags = in_.byte();
    s.seq = place(acked_, peer_edge_);
    s.ack = place(una_, device_->sent_end());
    const unsigned window = in_.byte();
    s.window = static_cast<std::uint16_t>(window << 8 | window);
    const std::uint32_t length = in_.byte();
    const std::uint8_t options = in_.byte();
    timestamps(s.options, options);
    sacks(s.options, options >> 4 & 3);
    s.ecn = options >> 6;
    if (s.has(TcpFlags::syn)) {
      // What it synchronises is what the stream begins with.
      if (connection_->state() == tcp::State::syn_sent) s.seq = irs_;
      s.options.mss = in_.half();
      s.options.sack_permitted = (s.options.mss & 1) != 0;
      s.options.window_shift = (s.options.mss & 2) != 0 ? in_.byte() % 16 : wire::kNoWindowShift;
    }
    give(s, length < 128 ? length : (length - 127) * (opening_.mss / 8));
  }

  // What a good peer says: all came, or so many segments of it, or all but one.
  void acknowledge(unsigned how) {
    wire::TcpSegment s;
    s.flags = TcpFlags::ack;
    s.seq = acked_;
    const SeqNumber end = device_->sent_end();
    if (connection_->state() == tcp::State::syn_sent) {
      s.flags |= TcpFlags::syn;
      s.seq = irs_;
      s.options.sack_permitted = (how & 1) != 0;
      s.options.mss = opening_.mss;
      if ((how & 2) != 0) s.options.window_shift = 2;
    }
    s.ack = (how & 1) != 0 ? end : sooner(una_ + (how >> 1 & 3) * segment_payload(), end);
    if ((how & 8) != 0 && before(s.ack + segment_payload(), end)) {
      s.options.sack_count = 1;
      s.options.sacks[0] = {s.ack + segment_payload(), end};
    }
    s.window = 0x7fff;
    timestamps(s.options, 0);
    give(s, 0);
  }

  void give(wire::TcpSegment& s, std::uint32_t length) {
    // The peer's stream has an end; what lies before its beginning isn't sent.
    const std::uint32_t place = s.seq + (s.has(TcpFlags::syn) ? 1U : 0U) - (irs_ + 1);
    if (place > fuzz::kStreamSize || length > fuzz::kStreamSize - place) length = 0;
    const std::span<const std::byte> from = fuzz::stream_bytes(1).subspan(length == 0 ? 0 : place);
    const std::vector<std::byte> frame(from.begin(), from.begin() + length);
    s.payload = frame;
    if (length != 0) {
      if (given_.size() < place + length) given_.resize(place + length);
      std::fill_n(given_.begin() + place, length, true);
    }
    note_window(s);
    fuzz::trace(now_, "in ", s, length);
    const std::uint32_t had = application_->delivered;
    const tcp::DropReason reason = connection_->on_segment(now_, s);
    if (reason == tcp::DropReason::none && s.has(TcpFlags::ack) && after(s.ack, una_) &&
        at_or_before(s.ack, device_->sent_end()))
      una_ = s.ack;
    // Before the frame goes.
    application_->drain();
    for (std::uint32_t i = had; i < application_->delivered; ++i)
      ASSERT(i < given_.size() && given_[i]);
  }

  // The furthest that the peer can have let us send.
  void note_window(const wire::TcpSegment& s) {
    if (s.has(TcpFlags::syn)) {
      if (connection_->state() != tcp::State::syn_sent) return;
      shift_ = s.options.window_shift;
      edge_ = later(edge_, una_ + s.window);
      return;
    }
    if (!s.has(TcpFlags::ack) || after(s.ack, device_->sent_end()) || before(s.ack, una_)) return;
    const unsigned shift = scales() ? std::min<unsigned>(shift_, tcp::kWindowShiftMost) : 0;
    edge_ = later(edge_, s.ack + (std::uint32_t{s.window} << shift));
  }

  // Events and output, until there is none; then what must hold at any time.
  void settle(bool silent) {
    application_->drain();
    if (silent) return connection_->validate();
    for (int i = 0;; ++i) {
      ASSERT(i < 1'000);
      burst_->clear();
      burst_->begin_turn(1 + (static_cast<std::size_t>(i) & 15));
      connection_->poll_transmit(now_, *burst_);
      for (std::size_t j = 0; j < burst_->size(); ++j)
        on_output((*burst_)[j]);
      application_->drain();
      connection_->validate();
      if (connection_->has_output()) continue;
      // A timer that is due does something, once.
      if (connection_->next_timeout() > now_) break;
      connection_->on_timeout(now_);
    }
    ASSERT(given_.size() <= fuzz::kStreamSize);
    check_timers();
  }

  // What is to go has something to wait for.
  void check_timers() const {
    const tcp::State state = connection_->state();
    if (state == tcp::State::closed || state == tcp::State::time_wait) return;
    const bool queued = connection_->stalled_for(now_ + Duration::seconds(1)).ns > 0;
    if (queued && application_->needs.empty())
      ASSERT(connection_->next_timeout() != Instant::never());
  }

  void on_output(const tcp::SegmentOut& out) {
    std::vector<fuzz::Flying> flying = device_->take(out, slow_);
    for (const fuzz::Flying& f : flying) {
      const wire::TcpSegment& s = f.segment;
      fuzz::trace(now_, "out", s, f.bytes.size());
      if (s.has(TcpFlags::rst)) continue;
      if (s.options.has_timestamps) last_stamp_ = s.options.ts_value;
      if (!f.bytes.empty())
        ASSERT(at_or_before(s.seq + static_cast<std::uint32_t>(f.bytes.size()), edge_));
      if (!s.has(TcpFlags::ack)) continue;
      check_ack(s);
    }
  }

  // It acknowledges what was given, and never less than before.
  void check_ack(const wire::TcpSegment& s) {
    ASSERT(!before(s.ack, acked_));
    acked_ = s.ack;
    while (contiguous_ < given_.size() && given_[contiguous_])
      ++contiguous_;
    ASSERT(acked_ - (irs_ + 1) <= contiguous_ + 1);
    for (std::size_t i = 0; i < s.options.sack_count; ++i)
      ASSERT(before(s.options.sacks[i].begin, s.options.sacks[i].end));
    const unsigned shift =
        s.has(TcpFlags::syn) || !scales() ? 0 : tcp::window_shift_for(limits_.receive_window);
    peer_edge_ = later(peer_edge_, s.ack + (std::uint32_t{s.window} << shift));
  }
  [[nodiscard]] bool scales() const { return shift_ != wire::kNoWindowShift; }

  void end() {
    slow_ = false;
    device_->finish();
    tcp::TimeWaitState state;
    if (!application_->over) {
      application_->read(now_, true);
      application_->abort(now_);
      settle(false);
      while (!application_->over) {
        ASSERT(connection_->next_timeout() != Instant::never());
        now_ = std::max(now_, connection_->next_timeout());
        connection_->on_timeout(now_);
        settle(false);
      }
    }
    application_->check_ended();
    const bool waits = connection_->time_wait(state);
    ASSERT(waits == (connection_->state() == tcp::State::time_wait));
    connection_.reset();
    // Nothing reads any more: a page comes back at each look.
    for (std::uint32_t i = 0; i < limits_.send_pages; ++i)
      shared_->send_pages.reclaim_one(tcp::SendQueue::page_idle);
    shared_->receive_pages.free_deferred();
    ASSERT(shared_->send_pages.free_count() == limits_.send_pages);
    ASSERT(shared_->receive_pages.free_count() == limits_.receive_pages);
  }

  Input& in_;
  Instant now_ = kStart;
  tcp::Limits limits_;
  tcp::Opening opening_;
  SeqNumber irs_;
  bool peer_timestamps_ = false;
  bool slow_ = false;
  unsigned shift_ = wire::kNoWindowShift;  // of the peer's windows
  SeqNumber una_;                          // the furthest that the peer acknowledged
  SeqNumber acked_;                        // … and we did
  SeqNumber edge_;                         // of the peer's window, at most
  SeqNumber peer_edge_;                    // of ours
  std::uint32_t last_stamp_ = 0;
  std::uint32_t contiguous_ = 0;
  std::vector<bool> given_;
  std::unique_ptr<tcp::Shared> shared_;
  std::unique_ptr<tcp::Connection> connection_;
  std::unique_ptr<Application> application_;
  std::unique_ptr<fuzz::Device> device_;
  std::unique_ptr<tcp::TxBurst> burst_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::run_world<World>(data, size);
}
