#include "shard/load/peer_link.hh"

#include <algorithm>

namespace penstock {

PeerLink::PeerLink(const SessionLimits& limits, std::uint32_t pages, const Torrent& torrent,
                   bool interested)
    : shared_(limits, pages),
      torrent_(torrent),
      interested_(interested),
      have_(torrent.blocks.piece_count(), 0) {}

void PeerLink::open(Instant now, const Endpoint& remote) {
  now_ = now;
  have_everything_ = false;
  std::fill(have_.begin(), have_.end(), std::uint8_t{0});
  session_.open(now, shared_, SessionRole::leech, remote, true, &torrent_);
  if (interested_) session_.set_interested(now, true);
}

void PeerLink::on_data(Instant now, std::span<const std::byte> data) {
  now_ = now;
  session_.on_data(now, data);
}

bool PeerLink::has(PieceIndex piece) const {
  return have_everything_ || have_[piece.value] != 0;
}

void PeerLink::set_have(PieceIndex piece, bool have) {
  if (have_everything_ && !have) {
    std::fill(have_.begin(), have_.end(), std::uint8_t{1});
    have_everything_ = false;
  }
  have_[piece.value] = have ? 1 : 0;
}

void PeerLink::set_bits(PieceIndex first, std::span<const std::byte> bits) {
  const std::size_t end = std::min<std::size_t>(have_.size(), first.value + bits.size() * 8);
  for (std::size_t piece = first.value; piece < end; ++piece) {
    const std::size_t at = piece - first.value;
    have_[piece] = (static_cast<unsigned>(bits[at / 8]) >> (7 - at % 8)) & 1;
  }
}

bool PeerLink::translate(const SessionEvent& event, LinkEvent& out) {
  switch (event.kind) {
    case SessionEvent::Kind::handshaken:
      out.kind = LinkEvent::Kind::handshaken;
      return true;
    case SessionEvent::Kind::unchoked:
      out.kind = LinkEvent::Kind::ready;
      return true;
    case SessionEvent::Kind::choked:
      out.kind = LinkEvent::Kind::choked;
      return true;
    case SessionEvent::Kind::block:
      out.kind = LinkEvent::Kind::bytes;
      out.last = event.last;
      out.offset = event.offset;
      out.request = event.request;
      out.data = event.data;
      return true;
    case SessionEvent::Kind::rejected:
      out.kind = LinkEvent::Kind::rejected;
      out.request = event.request;
      return true;
    case SessionEvent::Kind::closed:
      out.kind = LinkEvent::Kind::closed;
      out.reason = close_reason_name(event.reason).data();  // a literal, so terminated
      return true;
    case SessionEvent::Kind::have_all:
      have_everything_ = true;
      return false;
    case SessionEvent::Kind::have:
      set_have(event.piece, true);
      return false;
    case SessionEvent::Kind::dont_have:
      set_have(event.piece, false);
      return false;
    case SessionEvent::Kind::bitfield:
      set_bits(event.piece, event.data);
      return false;
    case SessionEvent::Kind::leaf_hashes:
      session_.refuse_leaf_hashes(now_);
      return false;
    default:  // nothing that a leecher who gives nothing has to answer
      return false;
  }
}

bool PeerLink::poll_event(LinkEvent& event) {
  SessionEvent from;
  while (session_.poll_event(from)) {
    if (translate(from, event)) return true;
  }
  return false;
}

}  // namespace penstock
