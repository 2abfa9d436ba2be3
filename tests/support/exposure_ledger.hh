// Which pages went out by reference and were not renewed since: the simulated kernel may still
// point at them, so a write there is an error of the program under test.
//
// A MemoryStreams port that sends by reference marks them, a MemoryStorage looks before it reads
// into memory. Shared by the ports and devices of one world; outlives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_set>

#include "base/arena.hh"

namespace penstock::support {

class ExposureLedger {
 public:
  void expose(const std::byte* data, std::size_t length) {
    each_page(data, length, [this](std::uintptr_t page) { exposed_.insert(page); });
  }
  void renew(const std::byte* data, std::size_t length) {
    each_page(data, length, [this](std::uintptr_t page) { exposed_.erase(page); });
  }
  // A write that is about to happen.
  void write(const std::byte* data, std::size_t length) {
    each_page(data, length, [this](std::uintptr_t page) { violations_ += exposed_.count(page); });
  }
  [[nodiscard]] std::size_t exposed_pages() const { return exposed_.size(); }
  [[nodiscard]] std::size_t violations() const { return violations_; }

 private:
  template <class Action>
  static void each_page(const std::byte* data, std::size_t length, Action action) {
    if (length == 0) return;
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    for (std::uintptr_t page = begin / kPageSize; page <= (begin + length - 1) / kPageSize; ++page)
      action(page);
  }

  std::unordered_set<std::uintptr_t> exposed_;
  std::size_t violations_ = 0;
};

}  // namespace penstock::support
