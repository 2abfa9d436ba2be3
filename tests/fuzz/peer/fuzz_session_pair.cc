// Two real sessions, a seed's and a leecher's: the input chooses how bytes are cut, how time
// passes, and what both shards do (CHOKE, CANCEL, lost pieces). Whatever it chooses, neither side
// finds fault with the other, every request has one answer, and every byte is the torrent's.
//
// Input: a byte of options, then the choices of SessionPair::step.
#include <cstddef>
#include <cstdint>
#include <span>

#include "support/session_pair.hh"

namespace {

using namespace penstock;

struct Input {
  std::span<const std::uint8_t> left;

  std::uint8_t byte() {
    const std::uint8_t b = left.front();
    left = left.subspan(1);
    return b;
  }
};

struct InputChoice {
  Input* input;

  // The most, when there is no more: what is under way ends soon.
  std::uint32_t operator()(std::uint32_t bound) const {
    if (input->left.empty()) return bound - 1;
    std::uint32_t value = input->byte();
    if (bound > 256 && !input->left.empty()) value = value << 8 | input->byte();
    return value % bound;
  }
};

// What the passing of time, or a piece that is lost, may end.
bool may_close(CloseReason reason, bool lose_pieces) {
  switch (reason) {
    case CloseReason::handshake_timeout:
    case CloseReason::message_timeout:
    case CloseReason::silent_peer:
      return true;
    case CloseReason::piece_lost:
      return lose_pieces;
    default:
      return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Input input{{data, size}};
  const std::uint8_t options = input.byte();
  constexpr std::uint32_t kRequestsMax[] = {1, 4, 32, 100};
  const bool lose_pieces = (options & 4) != 0;
  test::SessionPair<InputChoice> pair({.fast_seed = (options & 1) == 0,
                                       .fast_leech = (options & 2) == 0,
                                       .lose_pieces = lose_pieces,
                                       .requests_max = kRequestsMax[options >> 3 & 3]},
                                      InputChoice{&input});
  while (!input.left.empty() && !pair.seed().closed() && !pair.leech().closed())
    pair.step();
  if (!pair.seed().closed() && !pair.leech().closed()) pair.settle();
  pair.validate();
  for (const Session* session : {&pair.seed(), &pair.leech()}) {
    ASSERT(!session->closed() || may_close(session->close_reason(), lose_pieces));
  }
  if (pair.seed().closed() || pair.leech().closed()) return 0;
  ASSERT(pair.idle());
  ASSERT(pair.leech().outstanding() == 0);
  ASSERT(pair.answered() == pair.asked());
  return 0;
}
