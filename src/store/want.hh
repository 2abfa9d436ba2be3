// A want that could not be answered at once.
#pragma once

#include <array>
#include <cstdint>

#include "base/intrusive_list.hh"
#include "store/span.hh"
#include "store/store.hh"

namespace penstock {

struct Want;

// A want waits for pages of an extent, and holds it.
struct WaitLink : Hook<struct WaiterTag> {
  Want* want = nullptr;
  Extent* extent = nullptr;
  std::uint16_t mask = 0;
};

struct Want : Hook<struct WantStateTag>, Hook<struct WantOfTag> {
  enum class State : std::uint8_t {
    free,
    on_job,   // in PieceJob::wants: the piece is being verified
    reading,  // linked to extents whose pages are being read
    stalled,  // waits for room: tried again by do_work
    ready,    // to be polled; linked to its extents, all proven
    lost,     // to be polled
  };
  State state = State::free;
  std::uint8_t link_count = 0;
  std::uint8_t mismatches = 0;  // how often what was read for it was wrong
  BlockWant want;
  ShardContent* owner = nullptr;
  std::array<WaitLink, kPartsMax> links{};
};

using WantList = List<Want, struct WantStateTag>;

}  // namespace penstock
