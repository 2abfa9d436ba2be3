// `--verify full`: hashes all of a torrent before the shards get it, on a thread of its own.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/result.hh"
#include "store/content.hh"
#include "wire/metainfo.hh"

namespace penstock::app {

class FullCheck {
 public:
  struct Outcome {
    std::optional<Error> error;  // the check itself could not be done; pieces stay unverified
    std::uint32_t verified = 0;
    std::uint32_t lost = 0;
  };

  // Starts at once. content isn't published yet and, like metainfo, outlives this object.
  FullCheck(std::shared_ptr<const Metainfo> metainfo, TorrentContent& content,
            std::string pool_path);
  // Waits for the thread's end.
  ~FullCheck();
  FullCheck(const FullCheck&) = delete;
  FullCheck& operator=(const FullCheck&) = delete;

  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool done() const { return done_.load(std::memory_order_acquire); }
  [[nodiscard]] const Outcome& outcome() const { return outcome_; }  // when done

 private:
  void run();

  std::shared_ptr<const Metainfo> metainfo_;
  TorrentContent& content_;
  std::string pool_path_;
  Outcome outcome_;
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> done_{false};  // release: outcome_ and content_ are written; acquire: done()
  std::thread thread_;
};

// What each file of the content is now; all zero for one that can't be looked at.
std::vector<FileFacts> read_facts(const TorrentContent& content, const std::string& pool_path);

}  // namespace penstock::app
