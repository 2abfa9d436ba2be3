#include "control/dataset/hash_pieces.hh"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/assert.hh"
#include "control/dataset/usable_cpus.hh"
#include "crypto/hash_batch.hh"
#include "crypto/merkle.hh"

namespace penstock::control {
namespace {

// Read, then hashed while it is in the L2 cache (1 MiB and more on servers of the last ten years).
constexpr std::size_t kBufferSize = 256 * 1024;
static_assert(kBufferSize % kBlockSize == 0);
constexpr auto kProgressEvery = std::chrono::milliseconds(100);

// What the threads share. Everything else belongs to one of them.
struct Shared {
  const PieceLayout& layout;
  std::span<const std::string> paths;
  const DataDirectory& directory;
  const HashOptions& options;
  PieceSink& sink;

  std::atomic<std::uint32_t> next_piece{0};
  std::atomic<std::uint64_t> bytes{0};  // for progress only
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable ended;
  unsigned running = 0;  // under mutex
};

// A piece on its way through a thread: read chunk by chunk, then hashed.
class Lane {
 public:
  explicit Lane(Shared& shared);
  // Begins a piece.
  void start(PieceIndex index);
  [[nodiscard]] bool busy() const { return busy_; }
  // Reads the next chunk(); false when that failed or the work was stopped: then it is not busy any
  // more, and a failure was reported.
  bool read_chunk();
  [[nodiscard]] std::span<const std::byte> chunk() const { return {buffer_.get(), chunk_}; }
  [[nodiscard]] Sha1& sha1() { return sha1_; }
  // Everything that is computed of the chunk but SHA-1; reports the piece when it was the last one,
  // and is not busy any more then.
  void finish_chunk(HashBatch& batch, MerkleHasher& merkle);

 private:
  bool fill(std::size_t wanted);
  bool read(const Segment& segment, std::byte* into, std::size_t length);
  bool fail(const Segment& segment, int error);
  void report(MerkleHasher& merkle);

  Shared& shared_;
  std::unique_ptr<std::byte[], decltype(&std::free)> buffer_;
  std::vector<Segment> segments_;
  std::size_t segment_ = 0;       // being read
  std::uint32_t in_segment_ = 0;  // bytes of it already read
  std::vector<Sha256Digest> leaves_;
  std::vector<std::uint32_t> checks_;
  Sha1 sha1_;
  HashedPiece piece_;
  PiecePart part_;           // v2
  std::uint32_t total_ = 0;  // bytes of the piece to hash
  std::uint32_t done_ = 0;
  std::size_t chunk_ = 0;  // bytes in the buffer
  bool busy_ = false;
  // The last file read: neighbouring pieces mostly lie in one.
  FileHandle file_;
  FileIndex file_index_;
};

Lane::Lane(Shared& shared)
    : shared_(shared),
      buffer_(static_cast<std::byte*>(std::aligned_alloc(4096, kBufferSize)), &std::free) {
  ASSERT(buffer_ != nullptr);
  const std::size_t blocks = (shared.layout.blocks().piece_size + kBlockSize - 1) / kBlockSize;
  if (shared.options.v2) leaves_.resize(blocks);
  if (shared.options.block_checks) checks_.resize(blocks);
}

void Lane::start(PieceIndex index) {
  const HashOptions& options = shared_.options;
  shared_.layout.segments(index, segments_);
  segment_ = 0;
  in_segment_ = 0;
  done_ = 0;
  total_ = 0;
  for (const Segment& segment : segments_)
    total_ += segment.length;
  // Of the piece's bytes, the trees cover only the file's; SHA-1 covers the padding behind it too.
  if (options.v2) part_ = shared_.layout.part(index);
  if (!options.v1 && !options.block_checks) {
    shared_.bytes.fetch_add(total_ - part_.length, std::memory_order_relaxed);
    total_ = part_.length;
  }
  piece_ = HashedPiece{};
  piece_.piece = index;
  sha1_.restart();
  busy_ = true;
}

bool Lane::fail(const Segment& segment, int error) {
  piece_.failure = {segment.file, error, segment.offset + in_segment_};
  return false;
}

bool Lane::read(const Segment& segment, std::byte* into, std::size_t length) {
  if (segment.padding) {
    std::memset(into, 0, length);
    return true;
  }
  if (!file_ || file_index_ != segment.file) {
    DataDirectory::Opened opened = shared_.directory.open_file(shared_.paths[segment.file.value]);
    if (!opened.file) return fail(segment, opened.error);
    file_ = std::move(opened.file);
    file_index_ = segment.file;
    // Doubles the kernel's read-ahead; a hint, so its failure means nothing.
    ::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  std::uint64_t offset = segment.offset + in_segment_;
  while (length > 0) {
    const ssize_t got = ::pread(file_.fd(), into, length, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(segment, errno);
    if (got == 0) return fail(segment, 0);
    into += got;
    offset += static_cast<std::uint64_t>(got);
    length -= static_cast<std::size_t>(got);
  }
  return true;
}

// The next bytes of the piece, across files.
bool Lane::fill(std::size_t wanted) {
  std::size_t filled = 0;
  while (filled < wanted) {
    const Segment& segment = segments_[segment_];
    const std::size_t length = std::min<std::size_t>(wanted - filled, segment.length - in_segment_);
    if (!read(segment, buffer_.get() + filled, length)) return false;
    filled += length;
    in_segment_ += static_cast<std::uint32_t>(length);
    if (in_segment_ == segment.length) {
      ++segment_;
      in_segment_ = 0;
    }
  }
  return true;
}

bool Lane::read_chunk() {
  if (shared_.stop.load(std::memory_order_relaxed)) {
    busy_ = false;
    return false;
  }
  chunk_ = std::min<std::size_t>(kBufferSize, total_ - done_);
  if (fill(chunk_)) return true;
  shared_.bytes.fetch_add(total_ - done_, std::memory_order_relaxed);
  busy_ = false;
  shared_.sink.on_piece(piece_);
  return false;
}

void Lane::finish_chunk(HashBatch& batch, MerkleHasher& merkle) {
  const std::span<const std::byte> bytes = chunk();
  if (shared_.options.v2 && done_ < part_.length) {
    const std::size_t own = std::min<std::size_t>(bytes.size(), part_.length - done_);
    const std::size_t count = (own + kBlockSize - 1) / kBlockSize;
    batch.leaves(bytes.first(own), std::span(leaves_).subspan(done_ / kBlockSize, count));
  }
  if (shared_.options.block_checks) {
    for (std::size_t at = 0; at < bytes.size(); at += kBlockSize) {
      const std::size_t size = std::min<std::size_t>(kBlockSize, bytes.size() - at);
      checks_[(done_ + at) / kBlockSize] =
          static_cast<std::uint32_t>(XXH3_64bits(bytes.data() + at, size));
    }
  }
  done_ += static_cast<std::uint32_t>(bytes.size());
  shared_.bytes.fetch_add(bytes.size(), std::memory_order_relaxed);
  if (done_ == total_) report(merkle);
}

void Lane::report(MerkleHasher& merkle) {
  const HashOptions& options = shared_.options;
  piece_.read = true;
  if (options.v1) piece_.v1 = sha1_.finish();
  if (options.v2) {
    const MerkleShape shape =
        MerkleShape::of(part_.file_length, shared_.layout.blocks().piece_size);
    const std::size_t leaves = (part_.length + kBlockSize - 1) / kBlockSize;
    piece_.v2 = merkle.root_of_piece(shape, std::span(leaves_).first(leaves));
  }
  if (options.block_checks) {
    piece_.block_checks = std::span(checks_).first((total_ + kBlockSize - 1) / kBlockSize);
  }
  busy_ = false;
  shared_.sink.on_piece(piece_);
}

// A thread: two pieces in step, since two messages hash faster than one (sha_lanes.hh). A piece's
// leaves are many messages in themselves, so v2 alone needs no second piece.
class Worker {
 public:
  explicit Worker(Shared& shared) : shared_(shared), one_(shared) {
    if (shared.options.v1 && shared.layout.blocks().piece_count() > 1) two_.emplace(shared);
  }
  void run() {
    while (true) {
      take(one_);
      if (two_) take(*two_);
      const bool has_one = one_.busy() && one_.read_chunk();
      const bool has_two = two_ && two_->busy() && two_->read_chunk();
      if (has_one && has_two && shared_.options.v1) {
        Sha1::update_both(one_.sha1(), one_.chunk(), two_->sha1(), two_->chunk());
      } else if (shared_.options.v1) {
        if (has_one) one_.sha1().update(one_.chunk());
        if (has_two) two_->sha1().update(two_->chunk());
      }
      if (has_one) one_.finish_chunk(batch_, merkle_);
      if (has_two) two_->finish_chunk(batch_, merkle_);
      if (exhausted_ && !one_.busy() && !(two_ && two_->busy())) return;
    }
  }

 private:
  // Gives an idle lane the next piece.
  void take(Lane& lane) {
    if (lane.busy() || exhausted_) return;
    const std::uint32_t piece = shared_.next_piece.fetch_add(1, std::memory_order_relaxed);
    if (piece >= shared_.layout.blocks().piece_count() || shared_.stop) {
      exhausted_ = true;
    } else {
      lane.start(PieceIndex(piece));
    }
  }

  Shared& shared_;
  HashBatch batch_;
  MerkleHasher merkle_;
  Lane one_;
  std::optional<Lane> two_;
  bool exhausted_ = false;  // no piece is left to begin
};

void pin_to(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // Checked by the command that took the list; if the CPU is gone by now, the thread runs anywhere.
  ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

}  // namespace

bool hash_pieces(const PieceLayout& layout, std::span<const std::string> paths,
                 const DataDirectory& directory, const HashOptions& options, PieceSink& sink,
                 const HashProgress& progress) {
  ASSERT(paths.size() == layout.files().size());
  const std::uint32_t pieces = layout.blocks().piece_count();
  const unsigned wanted =
      options.jobs != 0 ? options.jobs : static_cast<unsigned>(usable_cpus().size());
  const unsigned jobs = std::max(1u, std::min(wanted, pieces));

  Shared shared{layout, paths, directory, options, sink};
  std::vector<std::jthread> threads;
  // Declared after the threads' vector: set before its destructor joins, however we leave.
  struct StopAtExit {
    Shared& shared;
    ~StopAtExit() { shared.stop = true; }
  } stop_at_exit{shared};
  shared.running = jobs;
  for (unsigned i = 0; i < jobs; ++i) {
    threads.emplace_back([&shared, i] {
      const std::vector<unsigned>& cpus = shared.options.cpus;
      if (!cpus.empty()) pin_to(cpus[i % cpus.size()]);
      Worker(shared).run();
      const std::lock_guard lock(shared.mutex);
      --shared.running;
      shared.ended.notify_one();
    });
  }
  bool finished = false;
  while (!finished && !shared.stop) {
    {
      std::unique_lock lock(shared.mutex);
      finished = shared.ended.wait_for(lock, kProgressEvery, [&] { return shared.running == 0; });
    }
    if (progress && !progress(shared.bytes.load(std::memory_order_relaxed)) && !finished) {
      shared.stop = true;
    }
  }
  return finished;
}

}  // namespace penstock::control
