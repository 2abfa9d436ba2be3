// A disk in memory for tests of the store: completes what was submitted when told to, in an order
// drawn from a seed, and breaks in all the ways a disk breaks.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/random.hh"
#include "store/storage.hh"

namespace penstock {

class TestDisk final : public Storage {
 public:
  struct File {
    std::vector<std::byte> bytes;
    std::int64_t mtime_ns = 1;
    std::uint64_t inode = 0;
  };

  explicit TestDisk(std::uint64_t seed = 1) : random_(seed) {}

  void put(const std::string& path, std::vector<std::byte> bytes) {
    File& file = files[path];
    file.bytes = std::move(bytes);
    file.inode = ++last_inode_;
    file.mtime_ns = ++last_mtime_;
  }
  // Changed in place, noticed by its modification time.
  void touch(const std::string& path) { files.at(path).mtime_ns = ++last_mtime_; }

  bool try_submit(const StorageOp& op) override {
    if (pending_.size() >= queue_max) return false;
    if (refuse_next > 0) {
      --refuse_next;
      return false;
    }
    ++submitted;
    Pending pending{op, IoError::none, false};
    if (fail_at != 0 && submitted == fail_at) pending.error = fail_error;
    // What fails, fails before memory was renewed or written.
    if (pending.error == IoError::none) check(op);
    if (op.kind == StorageOp::Kind::read) {
      in_flight_max = std::max(in_flight_max, ++reads_in_flight_);
      ++reads;
      for (std::size_t i = 0; i < op.segment_count; ++i)
        bytes_asked += op.segments[i].length;
    }
    pending_.push_back(pending);
    return true;
  }

  std::size_t poll_completions(std::span<StorageCompletion> out) override {
    std::size_t count = 0;
    while (count < std::min(out.size(), poll_max)) {
      std::vector<std::size_t> able;
      for (std::size_t i = 0; i < pending_.size(); ++i) {
        if (!hangs(pending_[i].op)) able.push_back(i);
        if (!shuffle && !able.empty()) break;
      }
      if (able.empty()) break;
      const std::size_t pick = able[shuffle ? random_.below(able.size()) : 0];
      const Pending pending = pending_[pick];
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(pick));
      out[count++] = complete(pending);
    }
    return count;
  }

  [[nodiscard]] std::size_t pending() const { return pending_.size(); }
  // Of those: not hanging.
  [[nodiscard]] std::size_t ready() const {
    return static_cast<std::size_t>(std::count_if(
        pending_.begin(), pending_.end(), [this](const Pending& p) { return !hangs(p.op); }));
  }
  [[nodiscard]] std::size_t open_handles() const { return handles_.size(); }

  std::map<std::string, File> files;
  std::set<std::string> hanging;               // paths whose operations don't complete
  std::map<std::string, IoError> open_errors;  // path → error of open and check
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> bad;  // path → bytes with EIO
  std::uint64_t fail_at = 0;  // the operation, counted from 1, that fails
  IoError fail_error = IoError::media;
  bool shuffle = false;
  std::size_t queue_max = 1u << 20;
  std::size_t poll_max = 1u << 20;  // completions given out at once
  int refuse_next = 0;
  std::uint64_t submitted = 0;
  std::uint64_t reads = 0;
  std::uint64_t bytes_asked = 0;
  std::uint64_t renewed_pages = 0;
  std::size_t in_flight_max = 0;
  // Pages that the "kernel" still refers to, as they were: writing one without renewing it is the
  // bug that renew exists for, whoever does it.
  void expose(const std::byte* data, std::uint32_t length) {
    const auto begin = reinterpret_cast<std::uintptr_t>(data) / kPageSize * kPageSize;
    for (auto at = begin; at < reinterpret_cast<std::uintptr_t>(data) + length; at += kPageSize) {
      const auto* const page = reinterpret_cast<const std::byte*>(at);
      exposed_pages_.emplace(page, std::vector<std::byte>(page, page + kPageSize));
    }
  }
  [[nodiscard]] bool overwrote_exposed() const {
    return overwrote_exposed_ || std::any_of(exposed_pages_.begin(), exposed_pages_.end(), changed);
  }

 private:
  using ExposedPages = std::map<const std::byte*, std::vector<std::byte>>;
  static bool changed(const ExposedPages::value_type& page) {
    return std::memcmp(page.first, page.second.data(), kPageSize) != 0;
  }

  struct Pending {
    StorageOp op;
    IoError error;
    bool hang;
  };

  [[nodiscard]] bool hangs(const StorageOp& op) const {
    return op.path != nullptr && hanging.count(op.path) != 0 && op.kind != StorageOp::Kind::close;
  }

  void check(const StorageOp& op) {
    if (op.kind != StorageOp::Kind::read && op.kind != StorageOp::Kind::renew) return;
    ASSERT(op.segment_count > 0 && op.segment_count <= kReadSegmentsMax);
    ASSERT(op.offset % kPageSize == 0);
    for (std::size_t i = 0; i < op.segment_count; ++i) {
      const auto& segment = op.segments[i];
      ASSERT(segment.length > 0 && segment.length % kPageSize == 0);
      ASSERT(segment.length <= kSlabSize);
      ASSERT(reinterpret_cast<std::uintptr_t>(segment.data) % kPageSize == 0);
      for (std::uint32_t at = 0; at < segment.length; at += kPageSize) {
        const auto page = exposed_pages_.find(segment.data + at);
        if (page == exposed_pages_.end()) continue;
        overwrote_exposed_ |= !segment.renew || changed(*page);
        renewed_pages += segment.renew;
        exposed_pages_.erase(page);
      }
    }
  }

  StorageCompletion complete(const Pending& pending) {
    const StorageOp& op = pending.op;
    StorageCompletion done;
    done.kind = op.kind;
    done.token = op.token;
    done.error = pending.error;
    switch (op.kind) {
      case StorageOp::Kind::renew:
        if (done.error != IoError::none) {
          done.error = IoError::exhausted;
          break;
        }
        for (std::size_t i = 0; i < op.segment_count; ++i)
          std::memset(op.segments[i].data, 0, op.segments[i].length);
        break;
      case StorageOp::Kind::close:
        ASSERT(handles_.erase(op.file.value) == 1);
        done.error = IoError::none;
        break;
      case StorageOp::Kind::open:
      case StorageOp::Kind::check:
        complete_path(op, done);
        break;
      case StorageOp::Kind::read:
        --reads_in_flight_;
        if (done.error == IoError::none) complete_read(op, done);
        break;
    }
    return done;
  }

  void complete_path(const StorageOp& op, StorageCompletion& done) {
    if (done.error != IoError::none) return;
    const auto error = open_errors.find(op.path);
    if (error != open_errors.end()) {
      done.error = error->second;
      return;
    }
    const auto file = files.find(op.path);
    if (file == files.end()) {
      done.error = IoError::not_found;
      return;
    }
    done.facts = {file->second.bytes.size(), file->second.mtime_ns, file->second.inode, 7, true};
    if (op.kind == StorageOp::Kind::open) {
      done.file = FileHandle(++last_handle_);
      handles_[done.file.value] = op.path;
    }
  }

  void complete_read(const StorageOp& op, StorageCompletion& done) {
    const std::string& path = handles_.at(op.file.value);
    const auto file = files.find(path);
    // An unlinked file reads as empty here; a real one would still have its bytes.
    static const std::vector<std::byte> kNothing;
    const std::vector<std::byte>& bytes = file == files.end() ? kNothing : file->second.bytes;
    std::uint64_t at = op.offset;
    for (std::size_t i = 0; i < op.segment_count; ++i) {
      const auto& segment = op.segments[i];
      const auto range = bad.find(path);
      if (range != bad.end() && at < range->second.second &&
          range->second.first < at + segment.length) {
        done.error = IoError::media;
        done.bytes = 0;
        return;
      }
      const std::uint64_t have = at < bytes.size() ? bytes.size() - at : 0;
      const std::uint64_t take = std::min<std::uint64_t>(have, segment.length);
      // What lies behind the end of the file in the buffer is nobody's business.
      std::memset(segment.data, 0xdb, segment.length);
      if (take > 0) std::memcpy(segment.data, bytes.data() + at, take);
      done.bytes += static_cast<std::uint32_t>(take);
      at += segment.length;
    }
  }

  Random random_;
  std::vector<Pending> pending_;
  std::map<std::uint32_t, std::string> handles_;
  std::uint32_t last_handle_ = 0;
  std::uint64_t last_inode_ = 0;
  std::int64_t last_mtime_ = 0;
  std::size_t reads_in_flight_ = 0;
  ExposedPages exposed_pages_;
  bool overwrote_exposed_ = false;
};

}  // namespace penstock
