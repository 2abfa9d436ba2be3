// The leecher's side: asking for blocks and handing them on as they stream in.
//
// requests_ holds what was asked for and not answered, rejects_ what is still to be asked.
#include "peer/session.hh"
#include "wire/peer_wire.hh"

namespace penstock {

void Session::set_interested(Instant now, bool interested) {
  now_ = now;
  interested_ = interested;
}

bool Session::request(Instant now, const Request& request) {
  DCHECK(role_ == SessionRole::leech);
  if (stage_ != Stage::messages || peer_choking_) return false;
  const std::uint32_t allowed = std::min(peer_requests_max_, shared_->limits.requests_max);
  if (requests_.size() + rejects_.size() >= allowed) return false;
  now_ = now;
  return rejects_.push(shared_->pages, request);
}

void Session::cancel(Instant now, const Request& request) {
  DCHECK(role_ == SessionRole::leech);
  if (stage_ != Stage::messages || !requests_.contains(shared_->pages, request)) return;
  // It is coming in: too late.
  if (reading_ == Reading::block && block_wanted_ && block_ == request) return;
  now_ = now;
  if (!cancels_.push(shared_->pages, request)) return close(CloseReason::no_resources);
  if (fast_) return;  // it will be answered (BEP 6)
  // The block may come all the same.
  requests_.remove(shared_->pages, request);
  ++forgiven_;
}

// BEP 3: a CHOKE drops what was asked for. Told as `rejected`, one by one.
void Session::on_choked_by_peer() {
  if (!fast_) forget_count_ = requests_.size();
}

// bytes: the first 13 of a PIECE of `size` bytes. False: it isn't read.
bool Session::on_block_header(const std::byte* bytes, std::uint32_t size) {
  if (role_ == SessionRole::seed) {
    close(CloseReason::unexpected_piece);
    return false;
  }
  block_ = {PieceIndex(load_be32(bytes + 5)), load_be32(bytes + 9),
            size - static_cast<std::uint32_t>(wire::kPieceHeaderSize)};
  block_wanted_ = requests_.contains(shared_->pages, block_);
  if (block_wanted_) return true;
  if (forgiven_ == 0) {
    close(CloseReason::unexpected_piece);
    return false;
  }
  --forgiven_;
  return true;
}

bool Session::read_block(SessionEvent& event, std::span<const std::byte> bytes) {
  const bool last = body_left_ == 0;
  if (last && block_wanted_) requests_.remove(shared_->pages, block_);
  if (!block_wanted_) return false;
  event = {.kind = SessionEvent::Kind::block,
           .last = last,
           .piece = block_.piece,
           .offset = body_done_,
           .request = block_,
           .data = bytes};
  return true;
}

bool Session::on_rejected(SessionEvent& event, const Request& request) {
  if (!fast_) {
    close(CloseReason::fast_not_negotiated);
    return false;
  }
  if (!requests_.remove(shared_->pages, request)) {
    close(CloseReason::unexpected_reject);
    return false;
  }
  event = {.kind = SessionEvent::Kind::rejected, .request = request};
  return true;
}

}  // namespace penstock
