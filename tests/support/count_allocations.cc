#include "support/count_allocations.hh"

#include <cstdlib>
#include <new>

namespace {

thread_local bool counting = false;
thread_local std::uint64_t count = 0;

void* checked(void* memory) {
  count += counting;
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return checked(std::malloc(size));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto to = static_cast<std::size_t>(alignment);
  return checked(std::aligned_alloc(to, (size + to - 1) / to * to));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace penstock::support {

CountAllocations::CountAllocations() {
  counting = true;
}
CountAllocations::~CountAllocations() {
  counting = false;
}
std::uint64_t CountAllocations::counted() {
  return count;
}
PauseCount::PauseCount() : was_(counting) {
  counting = false;
}
PauseCount::~PauseCount() {
  counting = was_;
}

}  // namespace penstock::support
