#include "uring/ring.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.hh"
#include "host/errors.hh"

namespace penstock::uring {
namespace {

// Newer than liburing 2.3: struct io_uring_getevents_arg's `pad` is min_wait_usec where the kernel
// says IORING_FEAT_MIN_TIMEOUT (Linux 6.12).
constexpr std::uint32_t kFeatMinTimeout = 1u << 15;
// A cycle wants as many completions as a shard takes in one (128 of each kind). Since Linux 6.13
// one enter posts 20 of those that were put off (DEFER_TASKRUN) and leaves the rest to the next.
constexpr unsigned kCompletionsWanted = 256;
constexpr int kEntersMax = 16;
// Completions handed to a sink at once.
constexpr std::size_t kRunMax = 64;

constexpr std::array kNeededOps{IORING_OP_ACCEPT,  IORING_OP_RECV,         IORING_OP_POLL_ADD,
                                IORING_OP_TIMEOUT, IORING_OP_ASYNC_CANCEL, IORING_OP_READ,
                                IORING_OP_READV,   IORING_OP_OPENAT2,      IORING_OP_STATX,
                                IORING_OP_CLOSE};

// Best first. SINGLE_ISSUER came with Linux 6.0, as did multishot receive, which nothing else tells
// of: it is the least that is accepted. DEFER_TASKRUN came with 6.1.
constexpr unsigned kBase = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
                           IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_TASKRUN_FLAG;
constexpr std::array<unsigned, 2> kSetups{kBase | IORING_SETUP_DEFER_TASKRUN,
                                          kBase | IORING_SETUP_COOP_TASKRUN};

Result<void> check_ops(io_uring* ring) {
  io_uring_probe* const probe = io_uring_get_probe_ring(ring);
  if (probe == nullptr) return fail("io_uring can't be probed");
  for (const auto op : kNeededOps) {
    if (!io_uring_opcode_supported(probe, op)) {
      io_uring_free_probe(probe);
      return fail("io_uring lacks operation " + std::to_string(op) + " (old kernel)");
    }
  }
  io_uring_free_probe(probe);
  return {};
}

}  // namespace

Result<void> Ring::probe() {
  auto ring = create({.entries = 8, .cq_entries = 16});
  if (!ring) return tl::unexpected(std::move(ring).error());
  return {};
}

Result<std::unique_ptr<Ring>> Ring::create(const RingOptions& options) {
  std::unique_ptr<Ring> out(new Ring);
  int error = -EINVAL;
  for (const unsigned flags : kSetups) {
    io_uring_params params{};
    params.flags = flags;
    params.cq_entries = options.cq_entries;
    error = io_uring_queue_init_params(options.entries, &out->ring_, &params);
    if (error == 0) {
      out->live_ = true;
      out->deferred_ = (flags & IORING_SETUP_DEFER_TASKRUN) != 0;
      out->gathers_ = (params.features & kFeatMinTimeout) != 0;
      if ((params.features & IORING_FEAT_EXT_ARG) == 0) return fail("io_uring lacks EXT_ARG");
      break;
    }
    if (error != -EINVAL) break;
  }
  if (error != 0) {
    const char* const hint = error == -EINVAL   ? "io_uring (Linux 6.0 or newer is needed)"
                             : error == -ENOMEM ? "io_uring (memory lock limit)"
                                                : "io_uring (blocked by seccomp or sysctl?)";
    return host::os_error(hint, -error);
  }
  if (auto ops = check_ops(&out->ring_); !ops) return tl::unexpected(std::move(ops).error());
  auto bell = host::WakeEvent::create();
  if (!bell) return tl::unexpected(std::move(bell).error());
  out->bell_ = std::move(*bell);
  // Spares two atomic operations on the file's count in every enter; harmless where it fails.
  io_uring_register_ring_fd(&out->ring_);
  // Operations that block get a kernel thread each: at most this many of each kind (bounded: files;
  // unbounded: the rest). More than one pool's share of what a store has in flight (192 reads, 24
  // opens, 24 closes, 12 checks), so that one file system that hangs leaves some to the others.
  unsigned workers[2] = {320, 16};
  io_uring_register_iowq_max_workers(&out->ring_, workers);
  out->listen_to_bell();
  return out;
}

Ring::~Ring() {
  if (live_) io_uring_queue_exit(&ring_);
}

void Ring::attach(Tag tag, CompletionSink* sink) {
  ASSERT(tag != Tag::ring);
  sinks_[static_cast<std::size_t>(tag)] = sink;
}

io_uring_sqe* Ring::try_prepare() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) {
    ++counters_.enters;
    if (io_uring_submit(&ring_) < 0) return nullptr;
    sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return nullptr;
  }
  std::memset(sqe, 0, sizeof *sqe);
  return sqe;
}

void Ring::listen_to_bell() {
  io_uring_sqe* const sqe = try_prepare();
  if (sqe == nullptr) return;  // tried again before the next wait
  // Multishot: a ring of the bell posts a completion, nobody reads the counter.
  io_uring_prep_poll_multishot(sqe, bell_.fd(), POLLIN);
  sqe->user_data = user_data(Tag::ring, 0);
  bell_armed_ = true;
}

void Ring::enter(const Wait& how) {
  const bool look_only = how.timeout.ns <= 0 || hurried_;
  hurried_ = false;
  const bool deferred_work =
      (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  const bool ready = io_uring_cq_ready(&ring_) > 0;
  const unsigned prepared = io_uring_sq_ready(&ring_);
  if ((look_only || ready) && prepared == 0 && !deferred_work) return;
  ++counters_.enters;
  if (look_only || ready) {
    io_uring_submit_and_get_events(&ring_);
    return;
  }
  // By hand instead of io_uring_submit_and_wait_timeout, for min_wait.
  __kernel_timespec timeout{};
  io_uring_getevents_arg argument{};
  if (how.timeout != Duration::max()) {
    timeout.tv_sec = how.timeout.ns / 1'000'000'000;
    timeout.tv_nsec = how.timeout.ns % 1'000'000'000;
    argument.ts = reinterpret_cast<std::uintptr_t>(&timeout);
  }
  std::uint32_t wait_count = 1;
  if (gathers_ && how.batch > 1 && how.gather.ns > 0 && how.timeout > how.gather) {
    wait_count = how.batch;
    argument.pad = static_cast<std::uint32_t>(how.gather.ns / 1000);
  }
  // liburing's flush of the submission queue, without its enter.
  const unsigned count = io_uring_sq_ready(&ring_);
  io_uring_sq& sq = ring_.sq;
  const unsigned mask = *sq.kring_mask;
  unsigned tail = *sq.ktail;
  while (sq.sqe_head != sq.sqe_tail) {
    sq.array[tail & mask] = sq.sqe_head & mask;
    ++tail;
    ++sq.sqe_head;
  }
  io_uring_smp_store_release(sq.ktail, tail);
  unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
  const bool registered = ring_.enter_ring_fd != ring_.ring_fd;
  if (registered) flags |= IORING_ENTER_REGISTERED_RING;
  // ETIME, EINTR, EBUSY and EAGAIN all mean: look at what is there, and come back.
  ::syscall(__NR_io_uring_enter, ring_.enter_ring_fd, count, wait_count, flags, &argument,
            sizeof argument);
}

// The kernel had more to post than it does in one enter.
void Ring::catch_up() {
  for (int turn = 1; turn < kEntersMax; ++turn) {
    if ((IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN) == 0) return;
    if (io_uring_cq_ready(&ring_) >= kCompletionsWanted) return;
    ++counters_.enters;
    io_uring_get_events(&ring_);
  }
}

std::size_t Ring::dispatch() {
  std::size_t total = 0;
  std::array<Completion, kRunMax> run;
  std::size_t length = 0;
  std::uint64_t run_tag = 0;
  const auto flush = [&] {
    if (length > 0 && sinks_[run_tag] != nullptr) {
      sinks_[run_tag]->on_completions({run.data(), length});
    }
    length = 0;
  };
  // Bounded: what is there now. What a sink's own submit adds waits for the next cycle.
  const unsigned ready = io_uring_cq_ready(&ring_);
  for (; total < ready; ++total) {
    io_uring_cqe* cqe = nullptr;
    if (io_uring_peek_cqe(&ring_, &cqe) != 0) break;
    const std::uint64_t tag = cqe->user_data >> 60;
    const Completion completion{cqe->user_data & ((1ull << 60) - 1), cqe->res, cqe->flags};
    io_uring_cqe_seen(&ring_, cqe);
    if (tag == 0) {
      ++counters_.wakes;
      if ((completion.flags & IORING_CQE_F_MORE) == 0) bell_armed_ = false;
      continue;
    }
    ASSERT(tag < kTagCount);
    if (tag != run_tag || length == kRunMax) flush();
    run_tag = tag;
    run[length++] = completion;
  }
  flush();
  counters_.completions += total;
  return total;
}

std::size_t Ring::wait(const Wait& how) {
  if (!bell_armed_) listen_to_bell();
  enter(how);
  catch_up();
  return dispatch();
}

}  // namespace penstock::uring
