// What the scoreboard must say, byte by byte and without any cleverness: every byte has its own
// state, every question is answered by looking at all of them. Positions are 64 bits and don't
// wrap.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <utility>

#include "transport/rtt.hh"
#include "transport/scoreboard.hh"

namespace penstock::transport {

class ScoreboardModel {
 public:
  struct Block {
    std::int64_t begin;
    std::int64_t end;
  };
  struct Report {
    std::uint32_t acked = 0, sacked = 0, unsacked = 0, lost = 0, lost_again = 0, original = 0;
    std::int64_t rtt = 0;
    bool dsack = false, reordered = false, spurious = false, nonsense = false;
  };

  void on_sent(std::int64_t now, std::uint32_t length, std::uint32_t mss) {
    for (std::uint32_t i = 0; i < length; ++i)
      bytes_.push_back({.sent = now, .begins = i % mss == 0});
  }

  void on_resent(std::int64_t now, std::int64_t begin, std::uint32_t length) {
    const std::int64_t end = begin + length;
    at(begin).begins = true;
    if (end < nxt()) at(end).begins = true;
    for (std::int64_t i = begin; i < end; ++i) {
      Byte& byte = at(i);
      if (byte.sacked) continue;
      byte.lost = false;
      byte.resent = true;
      byte.sent = now;
    }
    credit_ += length;
    if (in_episode_) {
      episode_resent_ += length;
      episode_highest_ = std::max(episode_highest_, end);
    }
  }
  void on_probed(std::int64_t now, std::int64_t begin, std::uint32_t length) {
    on_resent(now, begin, length);
    probe_ = {begin, begin + length};
  }

  Report on_ack(std::int64_t now, std::int64_t ack, std::span<const Block> blocks,
                const RttEstimator& rtt, bool in_recovery, std::int64_t echoed) {
    Report report;
    if (ack > nxt()) {
      report.nonsense = true;
      return report;
    }
    const std::int64_t highest_before = highest_;
    std::int64_t acked_sample = -1, sacked_sample = -1, newest = -1, newest_end = 0;
    bool acked_resent = false;
    const auto deliver = [&](std::int64_t begin, std::int64_t end, bool cumulative) {
      const Byte record = at(begin);
      highest_ = std::max(highest_, end);
      if (!record.resent) {
        report.original += static_cast<std::uint32_t>(end - begin);
        std::int64_t& sample = cumulative ? acked_sample : sacked_sample;
        sample = std::max(sample, record.sent);
        if (end < highest_before) report.reordered = true;
      } else {
        if (cumulative) acked_resent = true;
        if (echoed < record.sent) return;
        if (rtt.has_sample() && now - record.sent < rtt.least().ns) return;
      }
      if (std::pair(record.sent, end) >= std::pair(newest, newest_end)) {
        newest = record.sent;
        newest_end = end;
      }
    };

    if (ack > una_) {
      report.acked = static_cast<std::uint32_t>(ack - una_);
      for (std::int64_t begin = una_; begin < ack;) {
        const std::int64_t end = record_end(begin);
        const std::int64_t stop = std::min(end, ack);
        const Byte record = at(begin);
        if (record.sacked)
          report.unsacked += static_cast<std::uint32_t>(stop - begin);
        else if (end <= ack)
          deliver(begin, end, true);
        else if (!record.resent)
          report.original += static_cast<std::uint32_t>(stop - begin);
        begin = stop;
      }
      while (una_ < ack) {
        bytes_.pop_front();
        ++una_;
      }
      if (!bytes_.empty()) bytes_.front().begins = true;
      highest_ = std::max(highest_, una_);
    }
    const bool adapts = !blocks.empty() && take_duplicate(report, ack, blocks);
    for (std::size_t i = report.dsack ? 1 : 0; i < blocks.size(); ++i) {
      const Block block = blocks[i];
      if (block.begin >= block.end || block.end > nxt()) {
        report.nonsense = true;
        continue;
      }
      for (std::int64_t begin = una_; begin < nxt(); begin = record_end(begin)) {
        const std::int64_t end = record_end(begin);
        if (at(begin).sacked || begin < block.begin || end > block.end) continue;
        deliver(begin, end, false);
        report.sacked += static_cast<std::uint32_t>(end - begin);
        for (std::int64_t k = begin; k < end; ++k) {
          at(k).sacked = true;
          at(k).lost = false;
        }
      }
    }
    if (report.reordered) reordering_seen_ = true;
    const std::int64_t sample = std::max(sacked_sample, acked_resent ? -1 : acked_sample);
    if (sample >= 0) report.rtt = std::max<std::int64_t>(now - sample, 1);
    if (newest >= 0) {
      rack_rtt_ = now - newest;
      if (std::pair(newest, newest_end) > std::pair(rack_sent_, rack_end_)) {
        rack_sent_ = newest;
        rack_end_ = newest_end;
      }
    }
    adapt(adapts, in_recovery);
    detect(now, rtt, report);
    return report;
  }

  std::uint32_t on_reorder_timeout(std::int64_t now, const RttEstimator& rtt) {
    Report report;
    detect(now, rtt, report);
    return report.lost;
  }

  void on_timeout(std::int64_t now, const RttEstimator& rtt, bool reneged) {
    const std::int64_t overdue = now - rack_rtt_ - window(rtt);
    for (std::int64_t i = una_; i < nxt(); ++i) {
      Byte& byte = at(i);
      if (reneged) byte.sacked = false;
      if (byte.sacked) continue;
      if (i < record_end(una_) || reneged || byte.sent <= overdue) byte.lost = true;
    }
    if (reneged) highest_ = una_;
    deadline_ = Instant::never().ns;
  }

  void mark_first_lost() {
    for (std::int64_t i = una_, end = empty() ? una_ : record_end(una_); i < end; ++i)
      if (!at(i).sacked) at(i).lost = true;
  }
  void undo_lost(std::int64_t now) {
    for (Byte& byte : bytes_) {
      if (byte.lost && byte.resent) byte.sent = now;
      byte.lost = false;
    }
  }
  void begin_episode() {
    in_episode_ = true;
    episode_began_ = episode_highest_ = una_;
    episode_resent_ = 0;
  }

  [[nodiscard]] std::optional<Block> next_lost(std::uint32_t most) const {
    std::int64_t begin = una_;
    while (begin < nxt() && !at(begin).lost)
      ++begin;
    if (begin == nxt()) return std::nullopt;
    std::int64_t end = record_end(begin);
    if (end - begin > most) return Block{begin, begin + most};
    while (end < nxt() && at(end).lost && record_end(end) - begin <= most)
      end = record_end(end);
    return Block{begin, end};
  }
  [[nodiscard]] std::optional<Block> last_sent(std::uint32_t most) const {
    if (empty() || bytes_.back().sacked) return std::nullopt;
    std::int64_t begin = nxt() - 1;
    while (!at(begin).begins)
      --begin;
    return Block{std::max<std::int64_t>(begin, nxt() - most), nxt()};
  }

  [[nodiscard]] std::int64_t una() const { return una_; }
  [[nodiscard]] std::int64_t nxt() const { return una_ + static_cast<std::int64_t>(bytes_.size()); }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  [[nodiscard]] std::uint32_t sacked() const { return count(&Byte::sacked); }
  [[nodiscard]] std::uint32_t lost() const { return count(&Byte::lost); }
  [[nodiscard]] std::uint32_t in_flight() const {
    std::uint32_t sum = 0;
    for (const Byte& byte : bytes_)
      sum += !byte.sacked && !byte.lost;
    return sum;
  }
  [[nodiscard]] std::uint32_t sacked_count() const {
    std::uint32_t sum = 0;
    for (const Byte& byte : bytes_)
      sum += byte.begins && byte.sacked;
    return sum;
  }
  [[nodiscard]] std::int64_t deadline() const { return deadline_; }
  [[nodiscard]] std::int64_t oldest_sent() const {
    return empty() ? Instant::never().ns : bytes_.front().sent;
  }
  [[nodiscard]] bool reneged() const { return !empty() && bytes_.front().sacked; }
  [[nodiscard]] std::uint32_t episode_resent() const { return episode_resent_; }

 private:
  struct Byte {
    std::int64_t sent = 0;
    bool begins = false;  // a record
    bool sacked = false;
    bool lost = false;
    bool resent = false;
  };

  [[nodiscard]] const Byte& at(std::int64_t i) const { return bytes_[i - una_]; }
  Byte& at(std::int64_t i) { return bytes_[i - una_]; }
  [[nodiscard]] std::int64_t record_end(std::int64_t begin) const {
    do {
      ++begin;
    } while (begin < nxt() && !at(begin).begins);
    return begin;
  }
  [[nodiscard]] std::uint32_t count(bool Byte::*flag) const {
    std::uint32_t sum = 0;
    for (const Byte& byte : bytes_)
      sum += byte.*flag;
    return sum;
  }

  bool take_duplicate(Report& report, std::int64_t ack, std::span<const Block> blocks) {
    const Block block = blocks[0];
    if (block.begin >= block.end) return false;
    const bool below = block.end <= ack;
    const bool inside = blocks.size() > 1 && block.begin >= blocks[1].begin &&
                        block.end <= blocks[1].end && block.begin >= una_ && block.end <= nxt();
    if (!below && !inside) return false;
    report.dsack = true;
    const std::int64_t length = block.end - block.begin;
    if (length > credit_) return false;
    credit_ -= length;
    if (in_episode_ && episode_resent_ > 0 && block.begin >= episode_began_ &&
        block.end <= episode_highest_) {
      episode_resent_ -=
          static_cast<std::uint32_t>(std::min<std::int64_t>(length, episode_resent_));
      report.spurious = episode_resent_ == 0;
    }
    return block.begin != probe_.begin || block.end != probe_.end;
  }

  [[nodiscard]] std::int64_t window(const RttEstimator& rtt) const {
    if (!reordering_seen_ && (in_recovery_ || sacked_count() >= 3)) return 0;
    const std::int64_t least = rtt.has_sample() ? rtt.least().ns : rack_rtt_;
    const std::int64_t smoothed = rtt.has_sample() ? rtt.smoothed().ns : rack_rtt_;
    return std::min(least * multiple_ / 4, smoothed);
  }
  void adapt(bool duplicate, bool in_recovery) {
    if (duplicate_round_ && una_ >= *duplicate_round_) duplicate_round_.reset();
    if (!duplicate_round_ && duplicate) {
      duplicate_round_ = nxt();
      multiple_ = std::min(multiple_ + 1, 255);
      persist_ = 16;
    } else if (in_recovery_ && !in_recovery && persist_ > 0) {
      if (--persist_ == 0) multiple_ = 1;
    }
    in_recovery_ = in_recovery;
  }
  void detect(std::int64_t now, const RttEstimator& rtt, Report& report) {
    deadline_ = Instant::never().ns;
    if (rack_sent_ < 0) return;
    const std::int64_t patience = rack_rtt_ + window(rtt);
    for (std::int64_t begin = una_; begin < nxt(); begin = record_end(begin)) {
      const std::int64_t end = record_end(begin);
      const Byte record = at(begin);
      if (record.sacked || record.lost) continue;
      if (std::pair(rack_sent_, rack_end_) <= std::pair(record.sent, end)) continue;
      if (record.sent + patience > now) {
        deadline_ = std::min(deadline_, record.sent + patience);
        continue;
      }
      report.lost += static_cast<std::uint32_t>(end - begin);
      if (record.resent) report.lost_again += static_cast<std::uint32_t>(end - begin);
      for (std::int64_t k = begin; k < end; ++k)
        at(k).lost = true;
    }
  }

  std::int64_t una_ = 0;
  std::deque<Byte> bytes_;  // from una_ on
  std::int64_t highest_ = 0;
  std::int64_t rack_sent_ = -1, rack_end_ = 0, rack_rtt_ = 0;
  std::int64_t deadline_ = Instant::never().ns;
  std::int64_t credit_ = 0;
  bool in_episode_ = false;
  std::int64_t episode_began_ = 0, episode_highest_ = 0;
  std::uint32_t episode_resent_ = 0;
  Block probe_{0, 0};
  bool reordering_seen_ = false, in_recovery_ = false;
  std::optional<std::int64_t> duplicate_round_;
  int multiple_ = 1, persist_ = 0;
};

}  // namespace penstock::transport
