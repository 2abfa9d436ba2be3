#include "control/dataset/make_torrent.hh"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>

#include "base/assert.hh"
#include "base/units.hh"
#include "control/dataset/hash_pieces.hh"
#include "control/dataset/torrent_writer.hh"
#include "crypto/merkle.hh"
#include "crypto/metainfo_identity.hh"

namespace penstock::control {
namespace {

constexpr std::uint32_t kAutoPieceMax = 16u << 20;
constexpr std::uint64_t kAutoPieces = 2048;

bool begins_with_any(const std::string& url, std::initializer_list<std::string_view> schemes) {
  return std::any_of(schemes.begin(), schemes.end(), [&](std::string_view scheme) {
    return url.size() > scheme.size() && url.starts_with(scheme);
  });
}

// The torrent's file list as it will be read back, and where each file is on disk.
struct Plan {
  std::vector<FileEntry> files;
  std::vector<std::string> paths;
  BlockInfo blocks;
};

Plan plan_files(const ScannedTree& tree, TorrentFormat format, std::uint32_t piece_size) {
  Plan plan;
  std::uint64_t offset = 0;
  for (const ScannedFile& scanned : tree.files) {
    FileEntry file;
    file.path = tree.single_file ? tree.name : scanned.path;
    file.length = scanned.length;
    file.offset = offset;
    offset += file.length;
    plan.files.push_back(std::move(file));
    plan.paths.push_back(scanned.path);
    const std::uint64_t rest = offset % piece_size;
    if (format == TorrentFormat::v1 || tree.files.size() == 1 || rest == 0) continue;
    // Behind the last file too, unless it is the only one: libtorrent does so, and the same data
    // should have one info-hash.
    FileEntry padding;
    padding.length = piece_size - rest;
    padding.offset = offset;
    padding.padding = true;
    padding.path = ".pad/" + std::to_string(padding.length);
    offset += padding.length;
    plan.files.push_back(std::move(padding));
    plan.paths.emplace_back();
  }
  plan.blocks = {offset, piece_size};
  return plan;
}

// Collects hashes; the first failure stops the work.
class Collector : public PieceSink {
 public:
  Collector(const PieceLayout& layout, bool v1, bool v2) : layout_(layout) {
    if (v1) v1_.resize(layout.blocks().piece_count());
    if (v2) v2_.resize(layout.blocks().piece_count());
  }
  void on_piece(const HashedPiece& piece) override {
    if (!piece.read) {
      const std::lock_guard lock(mutex_);
      if (!failure_ || failure_->file.value > piece.failure.file.value) failure_ = piece.failure;
      failed_ = true;
      return;
    }
    // Every piece has elements of its own: the threads don't meet here.
    if (!v1_.empty()) v1_[piece.piece.value] = piece.v1;
    if (!v2_.empty()) v2_[piece.piece.value] = piece.v2;
  }
  // Any thread.
  [[nodiscard]] bool failed() const { return failed_; }
  // After the threads have ended.
  [[nodiscard]] const std::optional<ReadFailure>& failure() const { return failure_; }
  [[nodiscard]] std::vector<Sha1Digest>& v1() { return v1_; }

  // Gives every file its root and piece layer.
  void finish_trees(std::vector<FileEntry>& files) {
    MerkleHasher hasher;
    const std::uint32_t piece_size = layout_.blocks().piece_size;
    for (FileEntry& file : files) {
      if (file.length == 0 || file.padding) continue;
      const MerkleShape shape = MerkleShape::of(file.length, piece_size);
      const std::span<const Sha256Digest> layer =
          std::span(v2_).subspan(file.offset / piece_size, shape.piece_count);
      if (!shape.has_piece_layer()) {
        file.pieces_root = layer[0];
        continue;
      }
      file.pieces_root = hasher.root_of_piece_layer(shape, layer);
      file.piece_layer.assign(layer.begin(), layer.end());
    }
  }

 private:
  const PieceLayout& layout_;
  std::vector<Sha1Digest> v1_;
  std::vector<Sha256Digest> v2_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::optional<ReadFailure> failure_;
};

Error explain(const ReadFailure& failure, const Plan& plan) {
  const std::string& path = plan.paths[failure.file.value];
  const std::string why = failure.error == 0 ? "became shorter while it was read (after " +
                                                   std::to_string(failure.offset) +
                                                   " bytes): run it again when nothing writes there"
                                             : describe_errno(failure.error);
  return Error{ErrorKind::io, "\"" + path + "\": " + why};
}

// What was written must read back as what was scanned.
Result<Metainfo> read_back(const std::vector<std::byte>& file, const ScannedTree& tree,
                           const Plan& plan) {
  auto metainfo = load_metainfo(file);
  if (!metainfo) {
    return tl::unexpected(std::move(metainfo.error()).context("the finished torrent"));
  }
  // A v2 torrent can't say that its one file is inside a directory: libtorrent writes the same, and
  // reads it as the file alone.
  ASSERT(metainfo->single_file == tree.single_file || !metainfo->has_v1);
  auto scanned = plan.files.begin();
  for (const FileEntry& entry : metainfo->files) {
    if (entry.padding) continue;
    scanned =
        std::find_if(scanned, plan.files.end(), [](const FileEntry& f) { return !f.padding; });
    if (scanned == plan.files.end() || scanned->path != entry.path) {
      return fail("\"" + entry.path + "\": clashes with another name in the torrent: rename it");
    }
    ++scanned;
  }
  return metainfo;
}

}  // namespace

std::uint32_t piece_size_for(std::uint64_t total_bytes) {
  std::uint32_t size = kBlockSize;
  while (size < kAutoPieceMax && (total_bytes + size - 1) / size > kAutoPieces)
    size *= 2;
  return size;
}

Result<void> check_options(const MakeTorrentOptions& options) {
  if (options.piece_size != 0 &&
      (options.piece_size < kBlockSize || options.piece_size > kPieceSizeMax ||
       !std::has_single_bit(options.piece_size))) {
    return fail("a piece size of " + format_size(options.piece_size) +
                    " won't do: give a power of two from 16KiB to " + format_size(kPieceSizeMax),
                ErrorKind::usage);
  }
  for (const std::string& url : options.trackers) {
    if (!begins_with_any(url, {"http://", "https://", "udp://", "ws://", "wss://"})) {
      return fail("\"" + url + "\" is no tracker: it begins with http://, https:// or udp://",
                  ErrorKind::usage);
    }
  }
  for (const std::string& url : options.web_seeds) {
    if (!begins_with_any(url, {"http://", "https://", "ftp://"})) {
      return fail("\"" + url + "\" is no web seed: it begins with http:// or https://",
                  ErrorKind::usage);
    }
  }
  return {};
}

Result<MadeTorrent> make_torrent(const ScannedTree& tree, const MakeTorrentOptions& options,
                                 const MakeProgress& progress) {
  if (auto ok = check_options(options); !ok) return tl::unexpected(std::move(ok.error()));
  const auto piece_size = options.piece_size != 0 ? static_cast<std::uint32_t>(options.piece_size)
                                                  : piece_size_for(tree.total_bytes);
  Plan plan = plan_files(tree, options.format, piece_size);
  const std::uint32_t pieces_max = MetainfoLimits{}.pieces_max;
  if ((plan.blocks.total_size + piece_size - 1) / piece_size > pieces_max) {
    return fail("pieces of " + format_size(piece_size) + " would be more than " +
                    std::to_string(pieces_max) + ": give a larger --piece-size",
                ErrorKind::usage);
  }

  const PieceLayout layout(plan.files, plan.blocks);
  HashOptions hashing;
  hashing.v1 = options.format != TorrentFormat::v2;
  hashing.v2 = options.format != TorrentFormat::v1;
  hashing.jobs = options.jobs;
  hashing.cpus = options.cpus;
  Collector collector(layout, hashing.v1, hashing.v2);
  const double scale =
      static_cast<double>(tree.total_bytes) / static_cast<double>(layout.total_bytes());
  const auto watch = [&](std::uint64_t bytes) {
    if (collector.failed()) return false;
    return !progress ||
           progress(static_cast<std::uint64_t>(static_cast<double>(bytes) * scale + 0.5));
  };
  const bool finished = hash_pieces(layout, plan.paths, tree.directory, hashing, collector, watch);
  if (collector.failure()) return tl::unexpected(explain(*collector.failure(), plan));
  MadeTorrent made;
  if (!finished) {
    made.stopped = true;
    return made;
  }
  if (hashing.v2) collector.finish_trees(plan.files);

  Metainfo parts;
  parts.name = tree.name;
  parts.single_file = tree.single_file;
  parts.blocks = plan.blocks;
  parts.files = std::move(plan.files);
  parts.has_v1 = hashing.v1;
  parts.has_v2 = hashing.v2;
  parts.v1_pieces = std::move(collector.v1());
  parts.is_private = options.is_private;
  for (const std::string& tracker : options.trackers)
    parts.tracker_tiers.push_back({tracker});
  for (std::string url : options.web_seeds) {
    // BEP 19: what lies below the URL of a multi-file torrent is found by appending its path.
    if (!tree.single_file && !url.ends_with('/')) url.push_back('/');
    parts.web_seeds.push_back(std::move(url));
  }
  parts.comment = options.comment;
  parts.created_by = "Penstock/" PENSTOCK_VERSION;
  parts.creation_date = options.creation_date;
  made.file = write_torrent(parts);
  plan.files = std::move(parts.files);

  auto metainfo = read_back(made.file, tree, plan);
  if (!metainfo) return tl::unexpected(std::move(metainfo.error()));
  made.metainfo = std::move(*metainfo);
  return made;
}

}  // namespace penstock::control
