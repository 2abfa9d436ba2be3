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
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/assert.hh"
#include "control/dataset/usable_cpus.hh"
#include "crypto/hash_batch.hh"
#include "crypto/merkle.hh"

namespace penstock::control {
namespace {

// Read, then hashed while it is in the L2 cache: sixteen of them are 1 MiB, what servers of the
// last ten years have at least.
constexpr std::size_t kChunkSize = 64 * 1024;
static_assert(kChunkSize % kBlockSize == 0);
// What is asked of the disk at a time, in calls that no kernel cuts short (it caps each at the
// read-ahead size or the device's largest request).
constexpr std::size_t kReadAhead = 1024 * 1024;
constexpr std::size_t kReadAheadCall = 128 * 1024;
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
  // buffer: kChunkSize bytes.
  Lane(Shared& shared, std::byte* buffer);
  // Begins a piece.
  void start(PieceIndex index);
  [[nodiscard]] bool busy() const { return busy_; }
  // Reads the next chunk(); false when that failed or the work was stopped: then it is not busy any
  // more, and a failure was reported.
  bool read_chunk();
  [[nodiscard]] std::span<const std::byte> chunk() const { return {buffer_, chunk_}; }
  [[nodiscard]] Sha1& sha1() { return sha1_; }
  // The chunk's v2 leaves are to be computed; they go behind those that are there.
  void add_leaves(std::vector<Leaf>& leaves);
  // Everything else that is computed of the chunk but SHA-1; reports the piece when it was the last
  // one, and is not busy any more then.
  void finish_chunk(MerkleHasher& merkle);

 private:
  bool fill(std::size_t wanted);
  bool read(const Segment& segment, std::byte* into, std::size_t length);
  ssize_t read_some(const Segment& segment, std::byte* into, std::size_t length,
                    std::uint64_t offset);
  bool fail(const Segment& segment, int error);
  void report(MerkleHasher& merkle);

  Shared& shared_;
  std::byte* buffer_;
  std::vector<Segment> segments_;
  std::size_t segment_ = 0;       // being read
  std::uint32_t in_segment_ = 0;  // bytes of it already read
  std::uint64_t asked_ = 0;       // of its file: up to here the disk was asked
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

Lane::Lane(Shared& shared, std::byte* buffer) : shared_(shared), buffer_(buffer) {
  const std::size_t blocks = (shared.layout.blocks().piece_size + kBlockSize - 1) / kBlockSize;
  if (shared.options.v2) leaves_.resize(blocks);
  if (shared.options.block_checks) checks_.resize(blocks);
}

void Lane::start(PieceIndex index) {
  const HashOptions& options = shared_.options;
  shared_.layout.segments(index, segments_);
  segment_ = 0;
  in_segment_ = 0;
  asked_ = 0;
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

// Pieces are read in turns, a chunk of each: a disk must not see that. What is cached is taken as
// it is; where it ends, a long run is asked for at once, so that the disk reads piece after piece.
ssize_t Lane::read_some(const Segment& segment, std::byte* into, std::size_t length,
                        std::uint64_t offset) {
  if (offset >= asked_) {
    const iovec vector{into, length};
    const ssize_t got = ::preadv2(file_.fd(), &vector, 1, static_cast<off_t>(offset), RWF_NOWAIT);
    if (got > 0) return got;
    // Not cached, or an error (a file system without RWF_NOWAIT, too) that pread() meets again.
    asked_ = std::min(offset + kReadAhead, segment.offset + segment.length);
    for (std::uint64_t at = offset; at < asked_; at += kReadAheadCall) {
      const std::uint64_t size = std::min<std::uint64_t>(kReadAheadCall, asked_ - at);
      ::posix_fadvise(file_.fd(), static_cast<off_t>(at), static_cast<off_t>(size),
                      POSIX_FADV_WILLNEED);  // a hint
    }
  }
  return ::pread(file_.fd(), into, length, static_cast<off_t>(offset));
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
    const ssize_t got = read_some(segment, into, length, offset);
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
    if (!read(segment, buffer_ + filled, length)) return false;
    filled += length;
    in_segment_ += static_cast<std::uint32_t>(length);
    if (in_segment_ == segment.length) {
      ++segment_;
      in_segment_ = 0;
      asked_ = 0;
    }
  }
  return true;
}

bool Lane::read_chunk() {
  if (shared_.stop.load(std::memory_order_relaxed)) {
    busy_ = false;
    return false;
  }
  chunk_ = std::min<std::size_t>(kChunkSize, total_ - done_);
  if (fill(chunk_)) return true;
  shared_.bytes.fetch_add(total_ - done_, std::memory_order_relaxed);
  busy_ = false;
  shared_.sink.on_piece(piece_);
  return false;
}

void Lane::add_leaves(std::vector<Leaf>& leaves) {
  if (done_ >= part_.length) return;
  const auto own = chunk().first(std::min<std::size_t>(chunk_, part_.length - done_));
  for (std::size_t at = 0; at < own.size(); at += kBlockSize) {
    leaves.push_back({own.subspan(at, std::min<std::size_t>(kBlockSize, own.size() - at)),
                      &leaves_[(done_ + at) / kBlockSize]});
  }
}

void Lane::finish_chunk(MerkleHasher& merkle) {
  const std::span<const std::byte> bytes = chunk();
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

// How many pieces a thread has under way: as many as are hashed in step.
std::size_t lanes_for(const Shared& shared, unsigned jobs) {
  std::size_t lanes = HashBatch::in_step();
  if (!shared.options.v1) {
    // Leaves are many messages in themselves.
    const std::size_t chunk =
        std::min<std::size_t>(shared.layout.blocks().piece_size, kChunkSize) / kBlockSize;
    lanes = chunk == 0 ? lanes : (lanes + chunk - 1) / chunk;
  }
  // No thread takes another's share.
  const std::size_t pieces = shared.layout.blocks().piece_count();
  return std::clamp<std::size_t>((pieces + jobs - 1) / jobs, 1, lanes);
}

// A thread: several pieces in step, since several messages hash faster than one.
class Worker {
 public:
  Worker(Shared& shared, unsigned jobs) : shared_(shared), buffers_(nullptr, &std::free) {
    const std::size_t lanes = lanes_for(shared, jobs);
    buffers_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, lanes * kChunkSize)));
    ASSERT(buffers_ != nullptr);
    lanes_.reserve(lanes);
    for (std::size_t i = 0; i < lanes; ++i)
      lanes_.emplace_back(shared, buffers_.get() + i * kChunkSize);
  }
  void run() {
    while (read_chunks()) {
      if (shared_.options.v1) Sha1::update_all(hashers_, chunks_);
      if (shared_.options.v2) {
        leaves_.clear();
        for (Lane* lane : read_)
          lane->add_leaves(leaves_);
        batch_.leaves(leaves_);
      }
      for (Lane* lane : read_)
        lane->finish_chunk(merkle_);
    }
  }

 private:
  // The next chunk of every piece under way, idle lanes begin another one; false when all is done.
  bool read_chunks() {
    bool busy = false;
    read_.clear();
    hashers_.clear();
    chunks_.clear();
    for (Lane& lane : lanes_) {
      take(lane);
      busy = busy || lane.busy();
      if (!lane.busy() || !lane.read_chunk()) continue;
      read_.push_back(&lane);
      hashers_.push_back(&lane.sha1());
      chunks_.push_back(lane.chunk());
    }
    return busy;
  }
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
  std::unique_ptr<std::byte[], decltype(&std::free)> buffers_;
  std::vector<Lane> lanes_;
  // Of one turn: the lanes that have a chunk, and what is to be done with it.
  std::vector<Lane*> read_;
  std::vector<Sha1*> hashers_;
  std::vector<std::span<const std::byte>> chunks_;
  std::vector<Leaf> leaves_;
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
    threads.emplace_back([&shared, i, jobs] {
      const std::vector<unsigned>& cpus = shared.options.cpus;
      if (!cpus.empty()) pin_to(cpus[i % cpus.size()]);
      Worker(shared, jobs).run();
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
