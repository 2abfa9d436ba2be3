// A device with faults: in front of any other, it makes chosen operations fail, rot, hang or find
// the queue full.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/random.hh"
#include "store/storage.hh"

namespace penstock::support {

class FaultyStorage final : public Storage {
 public:
  enum class Effect : std::uint8_t {
    fail,    // completes with `error`, memory untouched
    rot,     // a read completes with one bit wrong
    cut,     // a read completes with half of its bytes, as if the file ended there
    hang,    // doesn't complete before release()
    refuse,  // try_submit says "full", once each
  };
  struct Fault {
    Effect effect = Effect::fail;
    StorageOp::Kind kind = StorageOp::Kind::read;
    std::uint64_t first = 0;  // counted from 0 among operations of this kind
    std::uint64_t count = 1;
    IoError error = IoError::media;
  };

  explicit FaultyStorage(Storage& inner, std::uint64_t seed = 1) : inner_(inner), random_(seed) {}
  void add(const Fault& fault) { faults_.push_back(fault); }
  void clear() { faults_.clear(); }
  // What hangs goes on to the device.
  void release();

  bool try_submit(const StorageOp& op) override;
  std::size_t poll_completions(std::span<StorageCompletion> out) override;

  [[nodiscard]] std::size_t hanging() const { return hanging_.size(); }
  // Operations of this kind that came in so far, refused ones not counted.
  [[nodiscard]] std::uint64_t seen(StorageOp::Kind kind) const {
    return seen_[static_cast<std::size_t>(kind)];
  }
  // How many faults took effect.
  [[nodiscard]] std::uint64_t struck() const { return struck_; }

 private:
  struct Flight {
    StorageOp op;
    bool faulty = false;
    Fault fault;
  };
  bool pass_on(const Flight& flight);

  Storage& inner_;
  Random random_;
  std::vector<Fault> faults_;
  std::map<std::uint64_t, Flight> flights_;  // by the token given to the device
  std::vector<Flight> hanging_;
  std::uint64_t next_token_ = 0;
  std::array<std::uint64_t, 8> seen_{};
  std::array<std::uint64_t, 8> refused_{};
  std::uint64_t struck_ = 0;
};

}  // namespace penstock::support
