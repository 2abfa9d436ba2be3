#include "data_plane_guard.hh"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <unistd.h>

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* memory);
}

namespace penstock::test {
namespace {

enum class Deed { allocation, release, lock };
constexpr std::size_t kPlacesMax = 8;
constexpr int kDepthMax = 24;

struct Place {
  std::array<void*, kDepthMax> frames{};
  int depth = 0;
};

std::atomic<bool> armed{false};
std::array<std::atomic<std::uint64_t>, 3> deeds{};
std::atomic<std::uint64_t> threads{0};
std::array<Place, kPlacesMax> places;
std::atomic<std::size_t> place_count{0};
thread_local bool of_data_plane = false;
thread_local bool looking = false;  // backtrace() itself may allocate

void note(Deed deed) {
  if (!of_data_plane || looking || !armed.load(std::memory_order_acquire)) return;
  deeds[static_cast<std::size_t>(deed)].fetch_add(1, std::memory_order_relaxed);
  const std::size_t index = place_count.fetch_add(1, std::memory_order_relaxed);
  if (index >= kPlacesMax) return;
  looking = true;
  places[index].depth = ::backtrace(places[index].frames.data(), kDepthMax);
  looking = false;
}

// The next one of this name behind this program's own: libc's.
template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

void arm_guard() {
  void* frame = nullptr;
  ::backtrace(&frame, 1);  // loads what it needs
  for (auto& count : deeds)
    count = 0;
  place_count = 0;
  armed.store(true, std::memory_order_release);
}

GuardReport disarm_guard() {
  armed.store(false, std::memory_order_release);
  const std::size_t count = std::min(place_count.load(), kPlacesMax);
  for (std::size_t i = 0; i < count; ++i) {
    static constexpr char kTitle[] = "--- the data plane did here what it may not:\n";
    if (::write(STDERR_FILENO, kTitle, sizeof kTitle - 1) < 0) break;
    ::backtrace_symbols_fd(places[i].frames.data(), places[i].depth, STDERR_FILENO);
  }
  return {deeds[0], deeds[1], deeds[2], threads};
}

}  // namespace penstock::test

// --- in the place of libc's ---

using penstock::test::Deed;
using penstock::test::note;
using penstock::test::real;

extern "C" {

void* malloc(std::size_t size) {
  note(Deed::allocation);
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  note(Deed::allocation);
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  note(Deed::allocation);
  return __libc_realloc(memory, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  note(Deed::allocation);
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  note(Deed::allocation);
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  note(Deed::allocation);
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? 12 : 0;  // ENOMEM
}
void free(void* memory) {
  if (memory == nullptr) return;
  note(Deed::release);
  __libc_free(memory);
}

// A lock function: counted, then libc's does it.
#define PENSTOCK_GUARD_LOCK(name, parameters, arguments)   \
  int name parameters noexcept {                           \
    static auto* const libc = real<int parameters>(#name); \
    note(Deed::lock);                                      \
    return libc arguments;                                 \
  }
PENSTOCK_GUARD_LOCK(pthread_mutex_lock, (pthread_mutex_t * lock), (lock))
PENSTOCK_GUARD_LOCK(pthread_mutex_trylock, (pthread_mutex_t * lock), (lock))
PENSTOCK_GUARD_LOCK(pthread_mutex_timedlock, (pthread_mutex_t * lock, const timespec* until),
                    (lock, until))
PENSTOCK_GUARD_LOCK(pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock))
PENSTOCK_GUARD_LOCK(pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock))
PENSTOCK_GUARD_LOCK(pthread_spin_lock, (pthread_spinlock_t * lock), (lock))
PENSTOCK_GUARD_LOCK(pthread_cond_signal, (pthread_cond_t * condition), (condition))
PENSTOCK_GUARD_LOCK(pthread_cond_broadcast, (pthread_cond_t * condition), (condition))
#undef PENSTOCK_GUARD_LOCK

// The runner names its thread before anything else.
int pthread_setname_np(pthread_t thread, const char* name) noexcept {
  static auto* const libc = real<int(pthread_t, const char*)>("pthread_setname_np");
  penstock::test::of_data_plane = std::strncmp(name, "shard-", 6) == 0;
  if (penstock::test::of_data_plane) ++penstock::test::threads;
  return libc(thread, name);
}

}  // extern "C"
