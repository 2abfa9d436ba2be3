// Turns extents that are sent often into framed ones: the same bytes with the headers of their
// PIECE messages between them. A run of blocks is then one run of memory, which is what sending by
// reference costs less for: fewer pages to refer to, and fewer frames that carry them.
//
// A framed extent is a copy in another slab, made when the extent has been used often enough to win
// back what that costs, and takes its place at once. Where the kernel still refers to the slab's
// pages they are renewed first, by a StorageOp. Only whole extents of one file, with every byte
// proven, are framed, so nothing is ever read into a framed extent.
#pragma once

#include <array>
#include <cstdint>

#include "store/extent_cache.hh"
#include "store/file_table.hh"

namespace penstock {

// A twin whose pages are being renewed.
struct alignas(16) Framing {
  enum class Phase : std::uint8_t { idle, renew, renewing, ready };
  Phase phase = Phase::idle;
  Extent* twin = nullptr;
  std::uint16_t exposed = 0;  // of the twin, before the renew was polled
};

class Framer {
 public:
  Framer(ExtentCache& cache, StoreCounters& counters) : cache_(cache), counters_(counters) {}

  // Where pieces aren't made of whole blocks, the place of a block's header isn't a matter of its
  // offset alone.
  [[nodiscard]] static bool may_frame(const TorrentContent& content) {
    return content.blocks.piece_size % kBlockSize == 0;
  }
  // The extent, of a file, was used as often as it takes.
  void nominate(Extent& extent);
  // Bounded. True while there is more to do at once.
  bool work();
  [[nodiscard]] bool has_work() const;
  bool poll_io(StorageOp& out);
  void on_renewed(Framing& framing, IoError error);
  // Ends what is not in flight of a torrent that goes away.
  void forget(ShardContent& content);

 private:
  static constexpr std::uint32_t kNomineesMax = 256;
  static constexpr std::uint32_t kFramingsMax = 8;
  static constexpr int kPerCycle = 8;  // copies of 64 KiB, about 8 us each

  [[nodiscard]] static bool may_frame(const Extent& extent);
  void begin(Extent& extent, Framing& framing);
  void finish(Framing& framing);
  void fill(const Extent& from, Extent& twin);
  void drop(Framing& framing);
  Framing* idle_framing();

  ExtentCache& cache_;
  StoreCounters& counters_;
  std::array<std::uint64_t, kNomineesMax> nominees_{};  // keys; a ring
  std::uint32_t first_ = 0;
  std::uint32_t count_ = 0;
  std::array<Framing, kFramingsMax> framings_{};
};

}  // namespace penstock
