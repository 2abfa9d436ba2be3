#include "app/full_check.hh"

#include <sys/stat.h>

#include "control/dataset/verify_pieces.hh"
#include "store/block_checksum.hh"
#include "store/shard_content.hh"

namespace penstock::app {
namespace {

// Keeps the checksums of good pieces where the store looks for them.
class ChecksumKeeper final : public control::BlockSink {
 public:
  explicit ChecksumKeeper(TorrentContent& content) : content_(content) {}
  void on_good_piece(PieceIndex piece, std::span<const std::uint32_t> checks) override {
    std::uint32_t* out =
        content_.block_checksums.get() + std::size_t{piece.value} * content_.blocks_per_piece;
    for (const std::uint32_t check : checks)
      *out++ = check == kNoChecksum ? 1 : check;
  }

 private:
  TorrentContent& content_;
};

}  // namespace

std::vector<FileFacts> read_facts(const TorrentContent& content, const std::string& pool_path) {
  std::vector<FileFacts> all;
  for (const ContentFile& file : content.files) {
    FileFacts facts;
    struct stat st {};
    if (!file.padding && ::stat((pool_path + "/" + file.path).c_str(), &st) == 0) {
      facts.size = static_cast<std::uint64_t>(st.st_size);
      facts.mtime_ns = std::int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
      facts.inode = st.st_ino;
      facts.device = st.st_dev;
    }
    all.push_back(facts);
  }
  return all;
}

FullCheck::FullCheck(std::shared_ptr<const Metainfo> metainfo, TorrentContent& content,
                     std::string pool_path)
    : metainfo_(std::move(metainfo)), content_(content), pool_path_(std::move(pool_path)) {
  thread_ = std::thread([this] {
    run();
    done_.store(true, std::memory_order_release);
  });
}

FullCheck::~FullCheck() {
  cancel();
  thread_.join();
}

void FullCheck::run() {
  const std::vector<FileFacts> before = read_facts(content_, pool_path_);
  ChecksumKeeper keeper(content_);
  control::VerifyOptions options;
  options.block_checks = true;
  const auto outcome = control::verify_pieces(
      *metainfo_, pool_path_, options, &keeper,
      [this](std::uint64_t) { return !cancelled_.load(std::memory_order_relaxed); });
  if (!outcome) {
    outcome_.error = outcome.error();
    return;
  }
  const std::vector<FileFacts> after = read_facts(content_, pool_path_);
  for (std::uint32_t i = 0; i < after.size(); ++i) {
    // A file that changed meanwhile proves nothing.
    set_verified_facts(content_, i, after[i].same_version(before[i]) ? after[i] : FileFacts{});
  }
  for (std::uint32_t i = 0; i < outcome->pieces.size(); ++i) {
    switch (outcome->pieces[i]) {
      case control::PieceVerdict::good:
        content_.pieces->set(PieceIndex(i), PieceState::verified);
        ++outcome_.verified;
        break;
      case control::PieceVerdict::bad:
      case control::PieceVerdict::unreadable:
        content_.pieces->set(PieceIndex(i), PieceState::lost);
        ++outcome_.lost;
        break;
      case control::PieceVerdict::unchecked:
        break;
    }
  }
}

}  // namespace penstock::app
