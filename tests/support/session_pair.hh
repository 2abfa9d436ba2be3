// A seed's and a leecher's session, joined by two byte pipes in virtual time, with what their
// shards do reduced to the least. Every step is one choice, so that a seed or a fuzzer's bytes make
// the same run again.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "base/assert.hh"
#include "base/piece_states.hh"
#include "peer/session.hh"
#include "wire/peer_wire.hh"

namespace penstock::test {

// 7 pieces of 48 KiB (no power of two), the last of 20,001 bytes.
struct PairTorrent {
  PairTorrent() : states(7, PieceState::verified), info(40'000) {
    for (std::size_t i = 0; i < info.size(); ++i)
      info[i] = static_cast<std::byte>(i * 7);
    torrent.hash_list[0].bytes.fill(std::byte{0x5a});
    torrent.hash_count = 1;
    torrent.blocks = {.total_size = 6 * 48 * 1024 + 20'001, .piece_size = 48 * 1024};
    torrent.pieces = &states;
    torrent.info_bytes = info;
  }
  static std::byte content(std::uint32_t piece, std::uint32_t at) {
    return static_cast<std::byte>((piece * 48 * 1024 + at) * 2654435761u >> 24);
  }
  PieceStates states;
  std::vector<std::byte> info;
  Torrent torrent;
};

// Choose: std::uint32_t operator()(std::uint32_t bound), uniform or not, in [0, bound).
template <class Choose>
class SessionPair {
 public:
  struct Options {
    bool fast_seed = true, fast_leech = true;
    bool lose_pieces = false;
    std::uint32_t requests_max = 32;
  };

  SessionPair(const Options& options, Choose choose)
      : options_(options),
        choose_(choose),
        seed_shared_(limits(options, 'S', options.fast_seed), 64),
        leech_shared_(limits(options, 'L', options.fast_leech), 64) {
    seed_.open(now_, seed_shared_, SessionRole::seed, {}, false, nullptr);
    leech_.open(now_, leech_shared_, SessionRole::leech, {}, true, &content_.torrent);
  }
  ~SessionPair() {
    seed_.reset();
    leech_.reset();
    ASSERT(seed_shared_.pages.free_count() == seed_shared_.pages.count());
    ASSERT(leech_shared_.pages.free_count() == leech_shared_.pages.count());
  }

  // One random step.
  void step() {
    switch (choose_(16)) {
      case 0:
      case 1:
      case 2:
        return deliver(to_seed_, seed_);
      case 3:
      case 4:
      case 5:
        return deliver(to_leech_, leech_);
      case 6:
      case 7:
        return pump(seed_, to_leech_);
      case 8:
      case 9:
        return pump(leech_, to_seed_);
      case 10:
      case 11:
        return send_block();
      case 12:
        return ask();
      case 13:
        return cancel();
      case 14:
        return shard_choice();
      default:
        return pass(Duration::milliseconds(choose_(200)));
    }
  }
  // Lets everything that is under way arrive; then nothing may be left open.
  void settle() {
    seed_.set_choked(now_, false);
    for (int i = 0; i < 10'000 && !idle(); ++i) {
      pump(seed_, to_leech_, SIZE_MAX);
      pump(leech_, to_seed_, SIZE_MAX);
      send_block();
      deliver(to_seed_, seed_, SIZE_MAX);
      deliver(to_leech_, leech_, SIZE_MAX);
    }
  }
  [[nodiscard]] bool idle() const {
    return (to_seed_.empty() && to_leech_.empty() && window_.empty() && sending_left_ == 0 &&
            seed_.request_count() == 0 && !seed_.small_pending() && !leech_.small_pending()) ||
           seed_.closed() || leech_.closed();
  }

  void validate() const {
    seed_.validate();
    leech_.validate();
  }
  [[nodiscard]] const Session& seed() const { return seed_; }
  [[nodiscard]] const Session& leech() const { return leech_; }
  [[nodiscard]] std::size_t asked() const { return asked_; }
  [[nodiscard]] std::size_t answered() const { return answered_; }  // blocks and rejects
  [[nodiscard]] std::size_t blocks() const { return blocks_; }

 private:
  using Pipe = std::deque<std::byte>;

  static SessionLimits limits(const Options& options, char last, bool fast) {
    SessionLimits limits;
    limits.peer_id.fill(std::byte{'-'});
    limits.peer_id[19] = static_cast<std::byte>(last);
    limits.fast = fast;
    limits.requests_max = options.requests_max;
    return limits;
  }

  void deliver(Pipe& pipe, Session& session) { deliver(pipe, session, 1 + choose_(5000)); }
  void deliver(Pipe& pipe, Session& session, std::size_t most) {
    const std::size_t size = std::min(most, pipe.size());
    std::vector<std::byte> bytes(pipe.begin(), pipe.begin() + static_cast<std::ptrdiff_t>(size));
    pipe.erase(pipe.begin(), pipe.begin() + static_cast<std::ptrdiff_t>(size));
    if (&session == &seed_) crossed_ -= std::min(crossed_, size);
    session.on_data(now_, bytes);
    poll(session);
  }

  void pump(Session& session, Pipe& pipe) { pump(session, pipe, 1 + choose_(700)); }
  void pump(Session& session, Pipe& pipe, std::size_t most) {
    // Nothing goes inside of a PIECE.
    if (&session == &seed_ && sending_left_ > 0) return;
    std::array<std::byte, kSmallScratchMin> scratch;
    std::array<SendPart, 3> parts;
    const SmallFill fill = session.fill_small(now_, scratch, parts);
    std::size_t left = std::min(most, fill.bytes);
    const std::size_t taken = left;
    for (std::size_t i = 0; i < fill.parts && left > 0; ++i) {
      const std::size_t size = std::min<std::size_t>(left, parts[i].length);
      pipe.insert(pipe.end(), parts[i].data, parts[i].data + size);
      left -= size;
    }
    session.on_small_sent(now_, taken);
    poll(session);
  }

  // The seed's shard: takes requests into its window, and sends one block, or a part of it.
  void send_block() {
    if (seed_.closed()) return;
    while (seed_.request_count() > 0 && window_.size() < 4)
      window_.push_back(seed_.pop_request());
    if (seed_.mid_small()) return;
    if (sending_left_ == 0) {
      if (window_.empty()) return;
      const Request r = window_.front();
      if (!content_.states.offered(r.piece)) {
        window_.pop_front();
        if (!seed_.reject(now_, r)) seed_.close(CloseReason::piece_lost);
        poll(seed_);
        return;
      }
      const auto header = wire::encode_piece_header(r.piece, r.begin, r.length);
      to_leech_.insert(to_leech_.end(), header.begin(), header.end());
      sending_left_ = r.length;
    }
    const Request r = window_.front();
    const std::uint32_t size = std::min(sending_left_, 1 + choose_(2 * kBlockSize));
    for (std::uint32_t i = 0; i < size; ++i) {
      to_leech_.push_back(
          PairTorrent::content(r.piece.value, r.begin + r.length - sending_left_ + i));
    }
    sending_left_ -= size;
    if (sending_left_ > 0) return;
    window_.pop_front();
    seed_.on_block_sent(now_);
    poll(seed_);
  }

  void ask() {
    for (std::uint32_t n = choose_(6); n > 0; --n) {
      const PieceIndex piece(choose_(7));
      const std::uint32_t length = content_.torrent.blocks.piece_length(piece);
      const std::uint32_t begin = choose_(length);
      const Request r{piece, begin, 1 + choose_(std::min(kBlockSize, length - begin))};
      if (!leech_.request(now_, r)) return;
      ++asked_;
      ++open_[key(r)];
      recent_ = r;
    }
    poll(leech_);
  }
  void cancel() {
    if (recent_.length == 0) return;
    const std::size_t before = leech_.outstanding();
    leech_.cancel(now_, recent_);
    // Without BEP 6 it is gone at once.
    if (leech_.outstanding() < before) answer(recent_);
    poll(leech_);
  }

  // The leecher knows of the last UNCHOKE, and what it asked for before the last CHOKE has come or
  // never will: turns are long, and without BEP 6 the seed has room for one such crossing.
  [[nodiscard]] bool choke_arrived() const {
    return crossed_ == 0 && !leech_.peer_choking() && leech_.handshaken();
  }
  // What a seed's shard may decide at any time.
  void shard_choice() {
    const PieceIndex piece(choose_(7));
    switch (choose_(6)) {
      case 0:
      case 1:
        seed_.set_choked(now_, false);
        break;
      case 2: {
        if (seed_.choked() || (!seed_.fast() && !choke_arrived())) break;
        seed_.set_choked(now_, true);
        // What has not begun is not sent.
        while (window_.size() > (sending_left_ > 0 ? 1u : 0u)) {
          const Request r = window_.back();
          window_.pop_back();
          if (!seed_.reject(now_, r)) seed_.drop_request();
        }
        break;
      }
      case 3:
        if (!options_.lose_pieces) break;
        content_.states.set(piece, PieceState::lost);
        seed_.on_piece_lost(now_, piece);
        break;
      case 4:
        content_.states.set(piece, PieceState::verified);
        seed_.on_piece_recovered(now_, piece);
        break;
      default:
        leech_.set_interested(now_, choose_(2) == 0);
    }
    poll(seed_);
    poll(leech_);
  }

  void pass(Duration span) {
    now_ = now_ + span;
    for (Session* session : {&seed_, &leech_}) {
      if (session->next_timeout() > now_) continue;
      session->on_timeout(now_);
      ASSERT(session->next_timeout() > now_);
      poll(*session);
    }
  }

  static std::tuple<std::uint32_t, std::uint32_t, std::uint32_t> key(const Request& r) {
    return {r.piece.value, r.begin, r.length};
  }
  // Every request has one answer.
  void answer(const Request& r) {
    const auto it = open_.find(key(r));
    ASSERT(it != open_.end());
    if (--it->second == 0) open_.erase(it);
    ++answered_;
  }

  void poll(Session& session) {
    SessionEvent e;
    while (session.poll_event(e)) {
      using Kind = SessionEvent::Kind;
      if (e.kind == Kind::info_hash) {
        ASSERT(content_.torrent.answers_to(e.info_hash));
        session.accept_torrent(now_, &content_.torrent);
      } else if (e.kind == Kind::choked) {
        crossed_ = to_seed_.size();
      } else if (e.kind == Kind::cancel) {
        on_cancel(e.request);
      } else if (e.kind == Kind::rejected) {
        answer(e.request);
      } else if (e.kind == Kind::block) {
        for (std::size_t i = 0; i < e.data.size(); ++i) {
          ASSERT(e.data[i] ==
                 PairTorrent::content(e.request.piece.value,
                                      e.request.begin + e.offset + static_cast<std::uint32_t>(i)));
        }
        if (!e.last) continue;
        ASSERT(e.offset + e.data.size() == e.request.length);
        ++blocks_;
        answer(e.request);
      }
    }
    session.validate();
  }
  void on_cancel(const Request& request) {
    for (std::size_t i = sending_left_ > 0 ? 1 : 0; i < window_.size(); ++i) {
      if (window_[i] != request) continue;
      window_.erase(window_.begin() + static_cast<std::ptrdiff_t>(i));
      if (!seed_.reject(now_, request)) seed_.drop_request();
      return;
    }
  }

  const Options options_;
  Choose choose_;
  PairTorrent content_;
  SessionShared seed_shared_, leech_shared_;
  Session seed_, leech_;
  Instant now_{1'000'000'000};
  Pipe to_seed_, to_leech_;
  std::size_t crossed_ = 0;  // of to_seed_, bytes that were sent before the last CHOKE arrived
  std::deque<Request> window_;
  std::uint32_t sending_left_ = 0;  // bytes of the window's front
  std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, std::uint32_t> open_;
  Request recent_;
  std::size_t asked_ = 0, answered_ = 0, blocks_ = 0;
};

}  // namespace penstock::test
