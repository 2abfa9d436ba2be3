// Writes BPF instructions (Linux, Documentation/bpf/standardization/instruction-set.rst), with
// forward jumps to labels: all that a small classifier needs.
//
// Start-up only. A jump to a label that is never bound, or beyond 32,767 instructions, is a
// programmer's error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <linux/bpf.h>

#include "base/assert.hh"

namespace penstock::nic_xdp {

enum class Reg : std::uint8_t { r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10 };

class BpfAssembler {
 public:
  enum class Size : std::uint8_t { b1 = BPF_B, b2 = BPF_H, b4 = BPF_W, b8 = BPF_DW };
  enum class When : std::uint8_t {
    equal = BPF_JEQ,
    not_equal = BPF_JNE,
    above = BPF_JGT,  // unsigned, as all here
    below = BPF_JLT,
    at_most = BPF_JLE,
  };
  struct Label {
    std::size_t index;
  };

  [[nodiscard]] Label make_label() {
    places_.push_back(kUnbound);
    return {places_.size() - 1};
  }
  void bind(Label label) {
    ASSERT(places_[label.index] == kUnbound);
    places_[label.index] = code_.size();
  }

  // to = *(from + offset), zero-extended; in the order of memory.
  void load(Size size, Reg to, Reg from, std::int16_t offset) {
    emit(BPF_LDX | BPF_MEM | static_cast<std::uint8_t>(size), to, from, offset, 0);
  }
  void move(Reg to, Reg from) { emit(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
  void move(Reg to, std::int32_t value) {
    emit(BPF_ALU64 | BPF_MOV | BPF_K, to, Reg::r0, 0, value);
  }
  void add(Reg to, Reg from) { emit(BPF_ALU64 | BPF_ADD | BPF_X, to, from, 0, 0); }
  void add(Reg to, std::int32_t value) { emit(BPF_ALU64 | BPF_ADD | BPF_K, to, Reg::r0, 0, value); }
  void mask(Reg to, std::int32_t value) {
    emit(BPF_ALU64 | BPF_AND | BPF_K, to, Reg::r0, 0, value);
  }
  void shift_left(Reg to, std::int32_t bits) {
    emit(BPF_ALU64 | BPF_LSH | BPF_K, to, Reg::r0, 0, bits);
  }
  // Network order to ours, of the lowest 16 bits; the rest becomes 0.
  void from_be16(Reg to) { emit(BPF_ALU | BPF_END | BPF_TO_BE, to, Reg::r0, 0, 16); }
  void load_constant(Reg to, std::uint64_t value) { wide(to, 0, value); }
  void load_map(Reg to, int map_fd) {
    wide(to, BPF_PSEUDO_MAP_FD, static_cast<std::uint32_t>(map_fd));
  }

  void jump(Label to) { jump_code(BPF_JMP | BPF_JA, Reg::r0, Reg::r0, 0, to); }
  void jump_if(When when, Reg left, Reg right, Label to) {
    jump_code(BPF_JMP | BPF_X | static_cast<std::uint8_t>(when), left, right, 0, to);
  }
  // Compares the lower 32 bits.
  void jump_if32(When when, Reg left, std::uint32_t right, Label to) {
    jump_code(BPF_JMP32 | BPF_K | static_cast<std::uint8_t>(when), left, Reg::r0,
              static_cast<std::int32_t>(right), to);
  }
  void call(std::int32_t helper) { emit(BPF_JMP | BPF_CALL, Reg::r0, Reg::r0, 0, helper); }
  void exit() { emit(BPF_JMP | BPF_EXIT, Reg::r0, Reg::r0, 0, 0); }

  // The program, its jumps resolved.
  [[nodiscard]] std::vector<bpf_insn> finish() {
    for (const Jump& jump : jumps_) {
      const std::size_t place = places_[jump.label];
      ASSERT(place != kUnbound && place > jump.at && place - jump.at - 1 <= INT16_MAX);
      code_[jump.at].off = static_cast<std::int16_t>(place - jump.at - 1);
    }
    jumps_.clear();
    return std::move(code_);
  }

 private:
  static constexpr std::size_t kUnbound = ~std::size_t{0};
  struct Jump {
    std::size_t at;
    std::size_t label;
  };

  void emit(int code, Reg to, Reg from, std::int16_t offset, std::int32_t value) {
    bpf_insn instruction{};
    instruction.code = static_cast<std::uint8_t>(code);
    instruction.dst_reg = static_cast<std::uint8_t>(to) & 0xf;
    instruction.src_reg = static_cast<std::uint8_t>(from) & 0xf;
    instruction.off = offset;
    instruction.imm = value;
    code_.push_back(instruction);
  }
  void wide(Reg to, std::uint8_t kind, std::uint64_t value) {
    emit(BPF_LD | BPF_DW | BPF_IMM, to, Reg{kind}, 0, static_cast<std::int32_t>(value));
    emit(0, Reg::r0, Reg::r0, 0, static_cast<std::int32_t>(value >> 32));
  }
  void jump_code(int code, Reg left, Reg right, std::int32_t value, Label to) {
    jumps_.push_back({code_.size(), to.index});
    emit(code, left, right, 0, value);
  }

  std::vector<bpf_insn> code_;
  std::vector<std::size_t> places_;
  std::vector<Jump> jumps_;
};

}  // namespace penstock::nic_xdp
