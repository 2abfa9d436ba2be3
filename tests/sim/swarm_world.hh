// Whole shards in virtual time: sessions, store, mailboxes, over links and disks in memory, with
// leechers that compare every byte.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hh"
#include "crypto/sha.hh"
#include "peer/session.hh"
#include "shard/shard.hh"
#include "store/layout.hh"
#include "store/shard_content.hh"
#include "support/memory_storage.hh"
#include "support/memory_streams.hh"
#include "support/virtual_clock.hh"

namespace penstock::test {

using support::MemoryDisk;
using support::MemoryNetwork;
using support::MemoryStorage;
using support::MemoryStreams;

struct SimTorrent {
  ShardTorrent shared;
  std::vector<std::byte> bytes;  // the piece space
  std::string name;
};

// A peer that fetches all of one torrent in random order and checks what comes.
class SimLeecher {
 public:
  SimLeecher(MemoryStreams& port, SessionShared& shared, const SimTorrent& torrent,
             const Endpoint& remote, std::uint64_t seed)
      : port_(port), shared_(shared), torrent_(torrent), remote_(remote), random_(seed) {
    const BlockInfo& info = torrent.shared.torrent.blocks;
    for (std::uint32_t p = 0; p < info.piece_count(); ++p) {
      for (std::uint32_t b = 0; b < info.blocks_in_piece(PieceIndex(p)); ++b) {
        const std::uint32_t begin = b * kBlockSize;
        wanted_.push_back(
            {PieceIndex(p), begin, std::min(kBlockSize, info.piece_length(PieceIndex(p)) - begin)});
      }
    }
    for (std::size_t i = wanted_.size(); i > 1; --i) {
      std::swap(wanted_[i - 1], wanted_[random_.below(i)]);
    }
  }

  void step(Instant now) {
    if (!connected_ && now >= retry_) {
      connected_ = port_.connect(remote_, IpAddress{}, stream_);
      fresh_ = true;
    }
    StreamEvent events[16];
    const std::size_t count = port_.poll_events(now, events);
    for (const StreamEvent& event : std::span(events).first(count)) {
      if (event.stream != stream_) continue;
      if (event.kind == StreamEvent::Kind::connected) {
        session_.open(now, shared_, SessionRole::leech, remote_, true, &torrent_.shared.torrent);
        session_.set_interested(now, true);
        fresh_ = false;
      } else if (event.kind == StreamEvent::Kind::data) {
        session_.on_data(now, event.data);
      } else if (event.kind == StreamEvent::Kind::writable) {
        session_.set_send_blocked(now, false);
      } else if (event.kind == StreamEvent::Kind::closed) {
        end(now);
        return;
      }
      take_events(now);
    }
    if (!connected_ || fresh_) return;
    if (session_.next_timeout() <= now) session_.on_timeout(now);
    take_events(now);
    ask(now);
    send(now);
    maybe_stall(now);
  }

  [[nodiscard]] bool complete() const { return got_ + refused_ >= wanted_.size(); }
  [[nodiscard]] std::size_t got() const { return got_; }
  [[nodiscard]] std::size_t refused() const { return refused_; }
  [[nodiscard]] std::uint64_t wrong() const { return wrong_; }
  [[nodiscard]] Instant next() const {
    if (!connected_) return retry_;
    return earlier(session_.next_timeout(), stalled_ ? resume_ : Instant::never());
  }
  std::uint32_t stalls = 0;  // per mille of steps at which it stops reading for a while
  std::uint32_t drops = 0;   // per mille of steps at which it disconnects and comes back

 private:
  void take_events(Instant now) {
    SessionEvent event;
    while (connected_ && session_.poll_event(event)) {
      switch (event.kind) {
        case SessionEvent::Kind::block:
          check(event);
          break;
        case SessionEvent::Kind::rejected:
          // Of a piece that is there: it was choked meanwhile, and is asked for again.
          if (torrent_.shared.torrent.pieces->offered(event.request.piece)) {
            again_.push_back(event.request);
          } else {
            ++refused_;
          }
          break;
        case SessionEvent::Kind::closed:
          port_.close(stream_, false);
          end(now);
          return;
        default:
          break;
      }
    }
  }
  void check(const SessionEvent& event) {
    const std::uint64_t at = torrent_.shared.torrent.blocks.piece_offset(event.request.piece) +
                             event.request.begin + event.offset;
    if (!std::equal(event.data.begin(), event.data.end(),
                    torrent_.bytes.begin() + static_cast<std::ptrdiff_t>(at))) {
      ++wrong_;
    }
    if (event.last) ++got_;
  }
  // The answers under way are lost with the connection: all is asked for again.
  void end(Instant now) {
    session_.reset();
    connected_ = stalled_ = false;
    got_ = refused_ = next_ = 0;
    again_.clear();
    retry_ = now + Duration::milliseconds(5);
  }
  void ask(Instant now) {
    if (!connected_ || session_.peer_choking()) return;
    while (!again_.empty() && session_.outstanding() < 40 && session_.request(now, again_.back())) {
      again_.pop_back();
    }
    while (next_ < wanted_.size() && session_.outstanding() < 40 &&
           session_.request(now, wanted_[next_])) {
      ++next_;
    }
  }
  void send(Instant now) {
    while (connected_ && session_.small_pending()) {
      std::byte scratch[1024];
      SendPart parts[16];
      const SmallFill fill = session_.fill_small(now, scratch, parts);
      if (fill.bytes == 0) return;
      const SendResult result = port_.try_send(stream_, std::span(parts).first(fill.parts));
      session_.on_small_sent(now, result.accepted);
      if (result.accepted < fill.bytes) {
        session_.set_send_blocked(now, true);
        return;
      }
    }
  }
  void maybe_stall(Instant now) {
    if (stalled_ && now >= resume_) {
      stalled_ = false;
      port_.set_reading(stream_, true);
    } else if (!stalled_ && random_.below(1000) < stalls) {
      stalled_ = true;
      resume_ = now + Duration::milliseconds(static_cast<std::int64_t>(random_.below(200)));
      port_.set_reading(stream_, false);
    } else if (random_.below(1000) < drops && !complete()) {
      port_.close(stream_, false);
      end(now);
    }
  }

  MemoryStreams& port_;
  SessionShared& shared_;
  const SimTorrent& torrent_;
  Endpoint remote_;
  Random random_;
  Session session_;
  StreamHandle stream_;
  std::vector<Request> wanted_;
  std::vector<Request> again_;  // rejected, not for a lost piece
  std::size_t next_ = 0;
  std::size_t got_ = 0;
  std::size_t refused_ = 0;
  std::uint64_t wrong_ = 0;
  Instant retry_{};
  Instant resume_{};
  bool connected_ = false;
  bool fresh_ = true;
  bool stalled_ = false;
};

}  // namespace penstock::test
