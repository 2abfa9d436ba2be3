// What a fuzzer gave, read from the front; zeros when it is used up.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  [[nodiscard]] bool empty() const { return left_ == 0; }
  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  std::uint16_t half() {
    const std::uint8_t high = byte();
    return static_cast<std::uint16_t>(high << 8 | byte());
  }
  std::uint32_t word() {
    const std::uint32_t high = half();
    return high << 16 | half();
  }
  std::span<const std::byte> bytes(std::size_t length) {
    length = std::min(length, left_);
    const std::span<const std::byte> out(reinterpret_cast<const std::byte*>(data_), length);
    data_ += length;
    left_ -= length;
    return out;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

// A target that is a world made of the input and run to its end. Longer inputs say nothing new.
template <class World>
int run_world(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kInputMost = 2'048;
  if (size > kInputMost) return 0;
  Input input(data, size);
  World world(input);
  world.run();
  return 0;
}

}  // namespace penstock::fuzz
