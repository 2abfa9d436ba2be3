#include "control/dataset/verify_pieces.hh"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>

#include "crypto/merkle.hh"

namespace penstock::control {
namespace {

class Judge : public PieceSink {
 public:
  Judge(const Metainfo& metainfo, const PieceLayout& layout, VerifyOutcome& outcome,
        BlockSink* blocks)
      : metainfo_(metainfo), layout_(layout), outcome_(outcome), blocks_(blocks) {}

  void on_piece(const HashedPiece& piece) override {
    // Every piece has an element of its own: the threads don't meet here.
    PieceVerdict& verdict = outcome_.pieces[piece.piece.value];
    if (!piece.read) {
      verdict = PieceVerdict::unreadable;
      const std::lock_guard lock(mutex_);
      failures_.push_back(piece.failure);
      return;
    }
    verdict = matches(piece) ? PieceVerdict::good : PieceVerdict::bad;
    if (verdict == PieceVerdict::good && blocks_ != nullptr) {
      blocks_->on_good_piece(piece.piece, piece.block_checks);
    }
  }
  // After the threads have ended.
  [[nodiscard]] const std::vector<ReadFailure>& failures() const { return failures_; }

 private:
  [[nodiscard]] bool matches(const HashedPiece& piece) const {
    if (metainfo_.has_v1 && metainfo_.v1_pieces[piece.piece.value] != piece.v1) return false;
    if (!metainfo_.has_v2) return true;
    const PiecePart part = layout_.part(piece.piece);
    const FileEntry& file = metainfo_.files[part.file.value];
    const Sha256Digest& wanted = part.file_length > metainfo_.blocks.piece_size
                                     ? file.piece_layer[part.index]
                                     : file.pieces_root;
    return wanted == piece.v2;
  }

  const Metainfo& metainfo_;
  const PieceLayout& layout_;
  VerifyOutcome& outcome_;
  BlockSink* blocks_;
  std::mutex mutex_;
  std::vector<ReadFailure> failures_;  // under mutex_
};

// Looks at every file before anything is hashed, so that a missing one is named at once and an
// empty one, which no piece holds, is not forgotten.
std::vector<FileProblem> look_at_files(const Metainfo& metainfo, const DataDirectory& directory,
                                       std::span<const std::string> paths) {
  std::vector<FileProblem> problems;
  for (std::uint32_t i = 0; i < metainfo.files.size(); ++i) {
    const FileEntry& file = metainfo.files[i];
    if (file.padding || file.symlink) continue;
    const DataDirectory::Opened opened = directory.stat_file(paths[i]);
    FileProblem problem{FileIndex(i), FileProblem::Kind::missing, opened.error, opened.size};
    if (opened.error == ENOENT || opened.error == ENOTDIR) {
      problem.kind = FileProblem::Kind::missing;
    } else if (opened.error != 0) {
      problem.kind = FileProblem::Kind::unreadable;
    } else if (opened.size < file.length) {
      problem.kind = FileProblem::Kind::too_short;
    } else if (opened.size > file.length) {
      problem.kind = FileProblem::Kind::too_long;
    } else {
      continue;
    }
    problems.push_back(problem);
  }
  return problems;
}

// Adds what only reading showed: permissions, a failing disk, a file that shrank meanwhile.
// problems is in the torrent's order and stays so.
void add_failures(std::vector<FileProblem>& problems, std::vector<ReadFailure> failures) {
  std::sort(failures.begin(), failures.end(), [](const ReadFailure& a, const ReadFailure& b) {
    return a.file != b.file ? a.file < b.file : a.offset < b.offset;
  });
  const auto same_file = [](const ReadFailure& a, const ReadFailure& b) {
    return a.file == b.file;
  };
  failures.erase(std::unique(failures.begin(), failures.end(), same_file), failures.end());

  const std::vector<FileProblem> known = std::move(problems);
  problems.clear();
  auto next = known.begin();
  for (const ReadFailure& failure : failures) {
    while (next != known.end() && next->file < failure.file)
      problems.push_back(*next++);
    const bool told = next != known.end() && next->file == failure.file;
    if (told && next->kind != FileProblem::Kind::too_long) continue;
    if (told) ++next;
    const auto kind =
        failure.error == 0 ? FileProblem::Kind::too_short : FileProblem::Kind::unreadable;
    problems.push_back({failure.file, kind, failure.error, failure.offset});
  }
  problems.insert(problems.end(), next, known.end());
}

}  // namespace

bool VerifyOutcome::complete() const {
  return !stopped && good == pieces.size() &&
         std::all_of(files.begin(), files.end(),
                     [](const FileProblem& p) { return p.kind == FileProblem::Kind::too_long; });
}

Result<VerifyOutcome> verify_pieces(const Metainfo& metainfo, const std::string& data_directory,
                                    const VerifyOptions& options, BlockSink* sink,
                                    const HashProgress& progress) {
  if (metainfo.piece_layers_missing) {
    return fail("the v2 piece layers are missing: use a .torrent file that has them");
  }
  auto directory = DataDirectory::open(data_directory);
  if (!directory) return tl::unexpected(std::move(directory.error()));

  std::vector<std::string> paths;
  paths.reserve(metainfo.files.size());
  for (const FileEntry& file : metainfo.files)
    paths.push_back(path_below_data(metainfo, file));

  VerifyOutcome outcome;
  outcome.pieces.resize(metainfo.blocks.piece_count(), PieceVerdict::unchecked);
  outcome.files = look_at_files(metainfo, *directory, paths);

  const PieceLayout layout(metainfo.files, metainfo.blocks);
  Judge judge(metainfo, layout, outcome, sink);
  HashOptions hashing;
  hashing.v1 = metainfo.has_v1;
  hashing.v2 = metainfo.has_v2;
  hashing.block_checks = options.block_checks;
  hashing.jobs = options.jobs;
  hashing.cpus = options.cpus;
  outcome.stopped = !hash_pieces(layout, paths, *directory, hashing, judge, progress);
  add_failures(outcome.files, judge.failures());
  for (const PieceVerdict verdict : outcome.pieces) {
    outcome.good += verdict == PieceVerdict::good ? 1 : 0;
    outcome.bad += verdict == PieceVerdict::bad ? 1 : 0;
    outcome.unreadable += verdict == PieceVerdict::unreadable ? 1 : 0;
  }
  return outcome;
}

std::vector<FileIndex> files_of_piece(const PieceLayout& layout, PieceIndex piece) {
  std::vector<Segment> segments;
  layout.segments(piece, segments);
  std::vector<FileIndex> files;
  for (const Segment& segment : segments) {
    if (!segment.padding) files.push_back(segment.file);
  }
  return files;
}

}  // namespace penstock::control
