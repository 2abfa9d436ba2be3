// What messages mean, and what each may cost.
#include "peer/own_extensions.hh"
#include "peer/session.hh"
#include "wire/peer_wire.hh"

namespace penstock {

using wire::MessageId;

// A whole message of a known kind that isn't streamed. True: `event` is set.
bool Session::on_message(SessionEvent& event, const std::byte* bytes, std::uint32_t size) {
  const auto id = static_cast<MessageId>(bytes[wire::kPrefixSize]);
  const std::byte* const body = bytes + wire::kHeaderSize;
  // What is read from the bytes, is read before take(): they may lie in a page that goes back.
  const auto request = [body] {
    return Request{PieceIndex(load_be32(body)), load_be32(body + 4), load_be32(body + 8)};
  };
  switch (id) {
    case MessageId::request: {
      const Request r = request();
      take(size);
      on_request(r);
      return false;
    }
    case MessageId::cancel: {
      const Request r = request();
      take(size);
      return on_cancel(event, r);
    }
    case MessageId::reject_request: {
      const Request r = request();
      take(size);
      return on_rejected(event, r);
    }
    case MessageId::have: {
      const PieceIndex piece(load_be32(body));
      take(size);
      return on_have(event, piece);
    }
    case MessageId::hash_request: {
      std::array<std::byte, wire::kHashHeaderSize> copy;
      std::memcpy(copy.data(), bytes, copy.size());
      take(size);
      on_hash_request(copy.data());
      return false;
    }
    case MessageId::extended: {
      const bool told = on_extended(event, {body, size - wire::kHeaderSize});
      if (stage_ != Stage::closed) take(size);
      return told;
    }
    case MessageId::suggest_piece:
    case MessageId::allowed_fast:
      take(size);
      if (!fast_) {
        close(CloseReason::fast_not_negotiated);
      } else {
        charge();
      }
      return false;
    default:
      take(size);
      return on_simple(event, static_cast<std::uint8_t>(id));
  }
}

// Messages without a body.
bool Session::on_simple(SessionEvent& event, std::uint8_t id) {
  if (!charge()) return false;
  using Kind = SessionEvent::Kind;
  switch (static_cast<MessageId>(id)) {
    case MessageId::choke:
    case MessageId::unchoke: {
      const bool choking = static_cast<MessageId>(id) == MessageId::choke;
      if (peer_choking_ == choking) return false;
      peer_choking_ = choking;
      if (role_ == SessionRole::seed) return false;
      if (choking) on_choked_by_peer();
      event = {.kind = choking ? Kind::choked : Kind::unchoked};
      return true;
    }
    case MessageId::interested:
    case MessageId::not_interested: {
      const bool interested = static_cast<MessageId>(id) == MessageId::interested;
      if (peer_interested_ == interested) return false;
      peer_interested_ = interested;
      event = {.kind = interested ? Kind::interested : Kind::not_interested};
      return true;
    }
    case MessageId::have_all:
    case MessageId::have_none:
      return on_have_all_or_none(event, static_cast<MessageId>(id) == MessageId::have_all);
    default:
      UNREACHABLE();
  }
}

// From a seed, BITFIELD and its kin come once, before any HAVE; only a HAVE_NONE may be followed by
// a better one (a peer that had no metadata yet). A seed takes them from leechers at any time:
// DEVIATION(BEP 3, "only ever sent as the first message"): aria2 sends a BITFIELD instead of 20 or
// more HAVEs at once, in mid-transfer. A later one costs by its size.
bool Session::begin_bitfield(bool none, std::uint32_t bytes) {
  if (role_ == SessionRole::leech) {
    if (have_seen_) {
      close(CloseReason::bitfield_late);
      return false;
    }
    if (bitfield_seen_ && (none || have_count_ > 0)) {
      close(CloseReason::bitfield_duplicate);
      return false;
    }
  }
  const std::uint32_t cost = bitfield_seen_ ? 1 + bytes / 1024 : 1;
  bitfield_seen_ = true;
  have_count_ = 0;
  return charge(cost);
}

bool Session::on_have_all_or_none(SessionEvent& event, bool all) {
  if (!fast_) {
    close(CloseReason::fast_not_negotiated);
    return false;
  }
  if (!begin_bitfield(!all, 0)) return false;
  have_count_ = all ? torrent_->blocks.piece_count() : 0;
  if (role_ == SessionRole::seed) return false;
  event = {.kind = all ? SessionEvent::Kind::have_all : SessionEvent::Kind::have_none};
  return true;
}

bool Session::on_have(SessionEvent& event, PieceIndex piece) {
  const std::uint32_t pieces = torrent_->blocks.piece_count();
  if (piece.value >= pieces) {
    close(CloseReason::have_out_of_range);
    return false;
  }
  have_seen_ = true;
  bitfield_seen_ = true;  // one without pieces may be left out (BEP 3)
  // Each piece can be had once for free.
  if (free_haves_ > 0) {
    --free_haves_;
  } else if (!charge()) {
    return false;
  }
  // Which pieces is not kept, so that a peer that repeats itself passes for a seed: its loss.
  have_count_ = std::min(have_count_ + 1, pieces);
  if (role_ == SessionRole::seed) return false;
  event = {.kind = SessionEvent::Kind::have, .piece = piece};
  return true;
}

bool Session::on_dont_have(SessionEvent& event, std::span<const std::byte> payload) {
  const auto piece = wire::decode_dont_have(payload);
  if (!piece) {
    close(CloseReason::extension_malformed);
    return false;
  }
  if (piece->value >= torrent_->blocks.piece_count()) {
    close(CloseReason::have_out_of_range);
    return false;
  }
  if (!charge()) return false;
  have_count_ -= have_count_ > 0 ? 1 : 0;
  if (role_ == SessionRole::seed) return false;
  event = {.kind = SessionEvent::Kind::dont_have, .piece = *piece};
  return true;
}

void Session::on_request(const Request& request) {
  if (!torrent_->blocks.contains(request.piece, request.begin, request.length)) {
    return close(CloseReason::request_out_of_range);
  }
  if (request.length > kBlockSize) return close(CloseReason::request_too_long);
  if (role_ == SessionRole::leech || choked_) {
    // It may have crossed our CHOKE. Without BEP 6 the CHOKE is the answer.
    if (fast_ && role_ == SessionRole::seed) {
      if (rejects_.size() >= shared_->limits.requests_max) return on_excess_request(request);
      push_reject(request);
    } else {
      charge();
    }
    return;
  }
  // Where the pool is nearly empty, a page's worth of requests is all that a peer may have.
  if (requests_.size() + in_window_ >= requests_room() ||
      !requests_.push(shared_->pages, request)) {
    on_excess_request(request);
  }
}

// How many requests are kept. A peer without BEP 6 forgets at once what it cancels, and what it
// asked for when our CHOKE arrives, although that was sent after the CHOKE and the UNCHOKE that
// followed; it then asks for as much again. Nothing can tell it that a request was dropped, so
// there is room for both.
std::uint32_t Session::requests_room() const {
  const std::uint32_t most = shared_->limits.requests_max;
  return fast_ ? most : 2 * most;
}

// More than that: not kept.
void Session::on_excess_request(const Request& request) {
  if (++excess_ > shared_->limits.requests_excess_max) return close(CloseReason::request_flood);
  if (fast_) push_reject(request);
}

void Session::push_reject(const Request& request) {
  if (!rejects_.push(shared_->pages, request)) close(CloseReason::no_resources);
}

bool Session::on_cancel(SessionEvent& event, const Request& request) {
  if (!torrent_->blocks.contains(request.piece, request.begin, request.length)) {
    close(CloseReason::request_out_of_range);
    return false;
  }
  if (role_ == SessionRole::leech) {
    charge();
    return false;
  }
  if (requests_.remove(shared_->pages, request)) {
    on_excess_request(request);  // it cost as much; BEP 6: every request is answered
    return false;
  }
  if (!charge()) return false;
  event = {.kind = SessionEvent::Kind::cancel, .request = request};
  return true;
}

bool Session::on_extended(SessionEvent& event, std::span<const std::byte> body) {
  const auto id = static_cast<std::uint8_t>(body[0]);
  const std::span<const std::byte> payload = body.subspan(1);
  if (id == 0) {
    if (charge()) on_extension_handshake(payload);
    return false;
  }
  if (id == kOwnExtensionIds.lt_donthave) return on_dont_have(event, payload);
  if (id == kOwnExtensionIds.upload_only) {
    const auto value = wire::decode_upload_only(payload);
    if (!value) {
      close(CloseReason::extension_malformed);
    } else if (charge()) {
      peer_upload_only_ = *value;
    }
    return false;
  }
  if (id == kOwnExtensionIds.ut_metadata) {
    const auto message = wire::decode_metadata(payload);
    if (message && message->type == wire::MetadataType::request) {
      on_metadata_request(message->piece);
      return false;
    }
  }
  charge_unknown(static_cast<std::uint32_t>(body.size()));
  return false;
}

void Session::on_extension_handshake(std::span<const std::byte> payload) {
  const wire::ExtensionIds known{.ut_metadata = peer_metadata_id_,
                                 .ut_pex = peer_pex_id_,
                                 .upload_only = peer_upload_only_id_,
                                 .lt_donthave = peer_dont_have_id_};
  const auto handshake = wire::decode_extension_handshake(payload, known);
  if (!handshake) return close(CloseReason::extension_malformed);
  // One that is switched off later keeps its id: answers may be under way.
  const auto update = [](std::uint8_t& id, std::uint8_t value) {
    if (value != 0) id = value;
  };
  update(peer_metadata_id_, handshake->ids.ut_metadata);
  update(peer_pex_id_, handshake->ids.ut_pex);
  update(peer_upload_only_id_, handshake->ids.upload_only);
  update(peer_dont_have_id_, handshake->ids.lt_donthave);
  if (handshake->request_queue) peer_requests_max_ = *handshake->request_queue;
  peer_upload_only_ = handshake->upload_only;
}

// BEP 9. A client asks for every piece once, some for all of them at once, in order.
void Session::on_metadata_request(std::uint32_t piece) {
  if (peer_metadata_id_ == 0) {  // it never said how to answer
    charge_unknown(0);
    return;
  }
  const std::uint32_t pieces = metadata_piece_count(*torrent_);
  if (piece >= pieces) {
    if (metadata_reject_count_ == kMetadataRejectsMax) return close(CloseReason::metadata_flood);
    if (charge()) metadata_rejects_[metadata_reject_count_++] = piece;
    return;
  }
  if (++metadata_served_ > shared_->limits.metadata_rounds_max * pieces) {
    return close(CloseReason::metadata_flood);
  }
  if (metadata_run_count_ > 0) {
    MetadataRun& last = metadata_runs_[metadata_run_count_ - 1];
    if (piece == last.first + last.count) {
      ++last.count;
      return;
    }
  }
  if (metadata_run_count_ == kMetadataRunsMax) return close(CloseReason::metadata_flood);
  metadata_runs_[metadata_run_count_++] = {piece, 1};
}

// ---- The shard's calls.

Request Session::pop_request() {
  const Request request = requests_.front(shared_->pages);
  requests_.pop(shared_->pages);
  ++in_window_;
  return request;
}

void Session::on_block_sent(Instant now) {
  if (stage_ == Stage::closed) return;
  DCHECK(in_window_ > 0);
  note_sent(now);
  --in_window_;
  excess_ -= excess_ > 0 ? 1 : 0;
}

bool Session::reject(Instant now, const Request& request) {
  if (stage_ == Stage::closed) return true;
  DCHECK(in_window_ > 0);
  if (!fast_) return false;
  now_ = now;
  --in_window_;
  push_reject(request);
  return true;
}

void Session::drop_request() {
  if (stage_ == Stage::closed) return;
  DCHECK(in_window_ > 0);
  --in_window_;
}

void Session::set_choked(Instant now, bool choked) {
  if (choked_ == choked || stage_ == Stage::closed) return;
  now_ = now;
  choked_ = choked;
  if (!choked) return;
  choke_due_ = !told_choked_;
  if (fast_) {
    rejects_.take_all(shared_->pages, requests_);
  } else {
    requests_.clear(shared_->pages);
  }
}

void Session::on_piece_lost(Instant now, PieceIndex piece) {
  now_ = now;
  note_piece_change(piece.value | kLostFlag);
}

void Session::on_piece_recovered(Instant now, PieceIndex piece) {
  now_ = now;
  note_piece_change(piece.value);
}

void Session::note_piece_change(std::uint32_t change) {
  if (stage_ != Stage::messages) return;  // the BITFIELD will say it
  if (changes_count_ < kPieceChangesMax) {
    changes_[(changes_head_ + changes_count_++) % kPieceChangesMax] = change;
    return;
  }
  // Too many at once: from the first to the last of them, what is lost or here by then is told.
  const std::uint32_t piece = change & ~kLostFlag;
  if (sweep_ == kNoSweep) {
    sweep_end_ = 0;
    sweep_lost_ = sweep_back_ = false;
  }
  sweep_ = std::min(sweep_, piece);
  sweep_end_ = std::max(sweep_end_, piece + 1);
  ((change & kLostFlag) != 0 ? sweep_lost_ : sweep_back_) = true;
}

}  // namespace penstock
