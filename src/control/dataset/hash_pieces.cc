#include "control/dataset/hash_pieces.hh"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/assert.hh"
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

class Worker {
 public:
  explicit Worker(Shared& shared);
  void run();

 private:
  void hash(PieceIndex piece);
  bool fill(std::size_t wanted, HashedPiece& piece);
  bool read(const Segment& segment, std::byte* into, std::size_t length, HashedPiece& piece);
  bool fail(HashedPiece& piece, const Segment& segment, int error);

  Shared& shared_;
  std::unique_ptr<std::byte[], decltype(&std::free)> buffer_;
  HashBatch batch_;
  Sha1 sha1_;
  MerkleHasher merkle_;
  std::vector<Segment> segments_;
  std::size_t segment_ = 0;       // being read
  std::uint32_t in_segment_ = 0;  // bytes of it already read
  std::vector<Sha256Digest> leaves_;
  std::vector<std::uint32_t> checks_;
  // The last file read: neighbouring pieces mostly lie in one.
  FileHandle file_;
  FileIndex file_index_;
};

Worker::Worker(Shared& shared)
    : shared_(shared),
      buffer_(static_cast<std::byte*>(std::aligned_alloc(4096, kBufferSize)), &std::free) {
  ASSERT(buffer_ != nullptr);
  const std::size_t blocks = (shared.layout.blocks().piece_size + kBlockSize - 1) / kBlockSize;
  if (shared.options.v2) leaves_.resize(blocks);
  if (shared.options.block_checks) checks_.resize(blocks);
}

bool Worker::fail(HashedPiece& piece, const Segment& segment, int error) {
  piece.failure = {segment.file, error, segment.offset + in_segment_};
  return false;
}

bool Worker::read(const Segment& segment, std::byte* into, std::size_t length, HashedPiece& piece) {
  if (segment.padding) {
    std::memset(into, 0, length);
    return true;
  }
  if (!file_ || file_index_ != segment.file) {
    DataDirectory::Opened opened = shared_.directory.open_file(shared_.paths[segment.file.value]);
    if (!opened.file) return fail(piece, segment, opened.error);
    file_ = std::move(opened.file);
    file_index_ = segment.file;
    // Doubles the kernel's read-ahead; a hint, so its failure means nothing.
    ::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  std::uint64_t offset = segment.offset + in_segment_;
  while (length > 0) {
    const ssize_t got = ::pread(file_.fd(), into, length, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(piece, segment, errno);
    if (got == 0) return fail(piece, segment, 0);
    into += got;
    offset += static_cast<std::uint64_t>(got);
    length -= static_cast<std::size_t>(got);
  }
  return true;
}

// The next bytes of the piece, across files.
bool Worker::fill(std::size_t wanted, HashedPiece& piece) {
  std::size_t filled = 0;
  while (filled < wanted) {
    const Segment& segment = segments_[segment_];
    const std::size_t length = std::min<std::size_t>(wanted - filled, segment.length - in_segment_);
    if (!read(segment, buffer_.get() + filled, length, piece)) return false;
    filled += length;
    in_segment_ += static_cast<std::uint32_t>(length);
    if (in_segment_ == segment.length) {
      ++segment_;
      in_segment_ = 0;
    }
  }
  return true;
}

void Worker::hash(PieceIndex index) {
  const HashOptions& options = shared_.options;
  shared_.layout.segments(index, segments_);
  segment_ = 0;
  in_segment_ = 0;
  std::uint32_t total = 0;
  for (const Segment& segment : segments_)
    total += segment.length;
  // Of the piece's bytes, the trees cover only the file's; SHA-1 covers the padding behind it too.
  const PiecePart part = options.v2 ? shared_.layout.part(index) : PiecePart{};
  if (!options.v1 && !options.block_checks) {
    shared_.bytes.fetch_add(total - part.length, std::memory_order_relaxed);
    total = part.length;
  }

  HashedPiece piece;
  piece.piece = index;
  sha1_.restart();
  for (std::uint32_t done = 0; done < total;) {
    if (shared_.stop.load(std::memory_order_relaxed)) return;
    const std::size_t size = std::min<std::size_t>(kBufferSize, total - done);
    if (!fill(size, piece)) {
      shared_.bytes.fetch_add(total - done, std::memory_order_relaxed);
      shared_.sink.on_piece(piece);
      return;
    }
    const std::span<const std::byte> bytes(buffer_.get(), size);
    if (options.v1) sha1_.update(bytes);
    if (options.v2 && done < part.length) {
      const std::size_t own = std::min<std::size_t>(size, part.length - done);
      batch_.leaves(bytes.first(own), std::span(leaves_).subspan(
                                          done / kBlockSize, (own + kBlockSize - 1) / kBlockSize));
    }
    if (options.block_checks) {
      for (std::size_t at = 0; at < size; at += kBlockSize) {
        checks_[(done + at) / kBlockSize] = static_cast<std::uint32_t>(
            XXH3_64bits(bytes.data() + at, std::min<std::size_t>(kBlockSize, size - at)));
      }
    }
    done += static_cast<std::uint32_t>(size);
    shared_.bytes.fetch_add(size, std::memory_order_relaxed);
  }
  piece.read = true;
  if (options.v1) piece.v1 = sha1_.finish();
  if (options.v2) {
    const MerkleShape shape = MerkleShape::of(part.file_length, shared_.layout.blocks().piece_size);
    const std::size_t leaves = (part.length + kBlockSize - 1) / kBlockSize;
    piece.v2 = merkle_.root_of_piece(shape, std::span(leaves_).first(leaves));
  }
  if (options.block_checks) {
    piece.block_checks = std::span(checks_).first((total + kBlockSize - 1) / kBlockSize);
  }
  shared_.sink.on_piece(piece);
}

void Worker::run() {
  const std::uint32_t count = shared_.layout.blocks().piece_count();
  while (!shared_.stop.load(std::memory_order_relaxed)) {
    const std::uint32_t piece = shared_.next_piece.fetch_add(1, std::memory_order_relaxed);
    if (piece >= count) break;
    hash(PieceIndex(piece));
  }
}

void pin_to(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // Checked by the command that took the list; if the CPU is gone by now, the thread runs anywhere.
  ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

}  // namespace

unsigned usable_cpus() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    return std::max(1u, static_cast<unsigned>(CPU_COUNT(&set)));
  }
  return std::max(1u, std::thread::hardware_concurrency());
}

bool hash_pieces(const PieceLayout& layout, std::span<const std::string> paths,
                 const DataDirectory& directory, const HashOptions& options, PieceSink& sink,
                 const HashProgress& progress) {
  ASSERT(paths.size() == layout.files().size());
  const std::uint32_t pieces = layout.blocks().piece_count();
  const unsigned wanted = options.jobs != 0 ? options.jobs : usable_cpus();
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
