// What is to be done about the files of a watched folder. Sans-IO: listings go in, loads and
// unloads come out, and the outcome of each load goes back in.
//
// A file that is new or has changed is loaded; one that is gone is unloaded. A load that fails may
// have met a half-written file: it is tried again, quietly, while the file is young, and whenever
// the file changes; once it has settled and still fails, that is reported, once. A file may also
// fail because of others (its torrent is served from another file already): retry_failed().
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/time.hh"

namespace penstock::control {

struct FolderFile {
  std::string name;  // without the directory
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t inode = 0;

  [[nodiscard]] bool same_version(const FolderFile& o) const {
    return size == o.size && mtime_ns == o.mtime_ns && inode == o.inode;
  }
};

class FolderState {
 public:
  // A failing file is tried again this often until it hasn't changed for kSettled.
  static constexpr Duration kRetry = Duration::milliseconds(200);
  static constexpr Duration kSettled = Duration::seconds(2);

  struct Action {
    enum class Kind : std::uint8_t { load, unload };
    Kind kind = Kind::load;
    std::string name;
  };

  // All files there are now, in any order. What is to be done is appended: unloads first. Every
  // load is answered by on_loaded or on_failed before the next listing.
  void on_listing(Instant now, const std::vector<FolderFile>& files, std::vector<Action>& out);
  // The loads that are to be tried again without a change.
  void on_timeout(Instant now, std::vector<Action>& out);
  [[nodiscard]] Instant next_timeout() const;

  void on_loaded(const std::string& name);
  // True when this is to be reported: it has settled, and wasn't reported since it changed.
  bool on_failed(Instant now, const std::string& name);
  // Another file's torrent went away: those that failed may succeed now.
  void retry_failed(Instant now);

  // Settled and broken.
  [[nodiscard]] std::size_t broken_count() const;
  [[nodiscard]] std::size_t loaded_count() const;

 private:
  enum class Phase : std::uint8_t { loading, loaded, retrying, broken };
  struct Entry {
    FolderFile file;
    Phase phase = Phase::loading;
    bool was_loaded = false;  // an earlier version is being served
    bool reported = false;    // since it changed
    Instant changed_at{};     // when we first saw this version
    Instant retry_at{};       // retrying
  };
  std::map<std::string, Entry> entries_;
};

}  // namespace penstock::control
