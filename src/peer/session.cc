// Life, time and events of a session. Timers: one deadline for the handshake; then silence of the
// peer, a message that was begun, a peer that takes no data, a peer that needs nothing, and our
// own keepalive. timer_ is never later than the next of them; it is computed when it fires.
#include "peer/session.hh"

#include <memory>

#include "crypto/merkle.hh"
#include "peer/hash_job.hh"
#include "wire/peer_wire.hh"

namespace penstock {

SessionShared::SessionShared(const SessionLimits& session_limits, std::uint32_t page_count,
                             std::uint32_t page_reserve)
    : limits(session_limits),
      pages(page_count, page_reserve),
      hasher(std::make_unique<MerkleHasher>()) {}

SessionShared::~SessionShared() = default;

void Session::open(Instant now, SessionShared& shared, SessionRole role, const Endpoint& remote,
                   bool outgoing, const Torrent* torrent) {
  ASSERT(stage_ == Stage::idle);
  ASSERT(torrent != nullptr || (role == SessionRole::seed && !outgoing));
  shared_ = &shared;
  torrent_ = torrent;
  role_ = role;
  remote_ = remote;
  outgoing_ = outgoing;
  stage_ = Stage::opening;
  now_ = opened_ = last_received_ = last_sent_ = now;
  const SessionLimits& limits = shared.limits;
  messages_.open(now, limits.messages_burst);
  unknown_.open(now, limits.unknown_burst);
  hashes_.open(now, limits.hash_requests_burst);
  leaves_.open(now, limits.leaf_requests_burst);
  if (outgoing) {
    info_hash_ = torrent->hash_list[0];
    handshake_due_ = true;
  }
  timer_ = now + limits.handshake_timeout;
}

void Session::reset() {
  if (stage_ == Stage::idle) return;
  if (stage_ != Stage::closed) close(CloseReason::shutdown);
  // As constructed. Everything that the destructor would do is done.
  std::construct_at(this);
}

void Session::close(CloseReason reason) {
  if (stage_ == Stage::idle || stage_ == Stage::closed) return;
  stage_ = Stage::closed;
  close_reason_ = reason;
  input_ = {};
  timer_ = Instant::never();
  requests_.clear(shared_->pages);
  rejects_.clear(shared_->pages);
  cancels_.clear(shared_->pages);
  drop_partial();
  drop_hash_jobs();
  items_count_ = 0;
  out_offset_ = 0;
}

void Session::on_stream_closed(StreamError error) {
  switch (error) {
    case StreamError::none:
    case StreamError::closed_by_peer:
      return close(CloseReason::closed_by_peer);
    case StreamError::reset:
      return close(CloseReason::connection_reset);
    case StreamError::timed_out:
      return close(CloseReason::connection_timeout);
    case StreamError::refused:
      return close(CloseReason::connect_refused);
    case StreamError::unreachable:
      return close(CloseReason::connect_unreachable);
    case StreamError::no_resources:
      return close(CloseReason::no_resources);
    case StreamError::content_lost:
      return close(CloseReason::content_lost);
  }
}

void Session::accept_torrent(Instant now, const Torrent* torrent) {
  if (stage_ == Stage::closed) return;
  ASSERT(answer_due_ && torrent != nullptr);
  now_ = now;
  answer_due_ = false;
  if (torrent->withdrawn.load(std::memory_order_relaxed)) {
    return close(CloseReason::torrent_withdrawn);
  }
  torrent_ = torrent;
  handshake_due_ = true;
}

// Both handshakes are through.
void Session::begin_messages() {
  stage_ = Stage::messages;
  free_haves_ = torrent_->blocks.piece_count();
  // A leecher of this program has nothing to offer; BEP 6 wants that said.
  bitfield_due_ = role_ == SessionRole::seed || fast_;
  extension_due_ = extended_;
  peer_requests_max_ = shared_->limits.requests_max;
  timer_ = next_deadline();
}

bool Session::peer_is_seed() const {
  return torrent_ != nullptr && bitfield_seen_ && have_count_ >= torrent_->blocks.piece_count();
}

void Session::on_data(Instant now, std::span<const std::byte> data) {
  ASSERT(input_.empty());
  if (stage_ == Stage::idle || stage_ == Stage::closed || data.empty()) return;
  now_ = now;
  last_received_ = now;
  input_ = data;
}

bool Session::poll_event(SessionEvent& event) {
  for (;;) {
    if (answer_due_) refuse_torrent();
    if (take_signal(event)) return true;
    if (stage_ == Stage::closed) return false;
    if (input_.empty()) {
      on_input_end();
      return false;
    }
    if (step(event)) return true;
  }
}

// Events that don't come from a message.
bool Session::take_signal(SessionEvent& event) {
  if (leaf_hashes_done_) {
    leaf_hashes_done_ = false;
    event = {.kind = SessionEvent::Kind::leaf_hashes_done};
    return true;
  }
  if (stage_ == Stage::closed) {
    if (closed_told_) return false;
    closed_told_ = true;
    answer_due_ = false;
    event = {.kind = SessionEvent::Kind::closed, .reason = close_reason_};
    return true;
  }
  if (forget_count_ > 0) {
    --forget_count_;
    ++forgiven_;  // it may have been answered after an UNCHOKE that followed
    event = {.kind = SessionEvent::Kind::rejected, .request = requests_.front(shared_->pages)};
    requests_.pop(shared_->pages);
    return true;
  }
  if (hash_count_ == 0) return false;
  HashJob& job = *hash_job(0);
  if (job.state != HashJob::State::needs_leaves) return false;
  job.state = HashJob::State::waits_for_leaves;
  event = {.kind = SessionEvent::Kind::leaf_hashes, .piece = job.piece};
  return true;
}

// The bytes of one on_data are read: a message that isn't complete gets its deadline.
void Session::on_input_end() {
  if (stage_ != Stage::messages) return;
  const bool inside = partial_size_ > 0 || assembly_size_ > 0 || reading_ != Reading::header;
  if (!inside) {
    message_since_ = Instant::never();
  } else if (message_fresh_ || message_since_ == Instant::never()) {
    message_since_ = now_;
    message_fresh_ = false;
    arm(now_ + shared_->limits.message_timeout);
  }
  check_redundant(now_);
}

// A peer that has everything, or says that it wants nothing (BEP 21), needs no seed.
void Session::check_redundant(Instant now) {
  if (stage_ != Stage::messages || role_ != SessionRole::seed) return;
  const bool redundant = shared_->limits.close_redundant && requests_.empty() && in_window_ == 0 &&
                         (peer_is_seed() || (peer_upload_only_ && !peer_interested_));
  if (!redundant) {
    redundant_since_ = Instant::never();
  } else if (redundant_since_ == Instant::never()) {
    redundant_since_ = now;
    arm(now + shared_->limits.redundant_timeout);
  }
}

void Session::set_send_blocked(Instant now, bool blocked) {
  now_ = now;
  if (!blocked) {
    blocked_since_ = Instant::never();
  } else if (blocked_since_ == Instant::never()) {
    blocked_since_ = now;
    if (stage_ != Stage::closed && stage_ != Stage::idle) arm(now + shared_->limits.stall_timeout);
  }
}

bool Session::send_stalled(Instant now) const {
  return blocked_since_ != Instant::never() &&
         now - blocked_since_ >= shared_->limits.stall_timeout;
}

Instant Session::next_deadline() const {
  const SessionLimits& limits = shared_->limits;
  Instant next = Instant::never();
  if (stage_ == Stage::opening || stage_ == Stage::peer_id) {
    next = opened_ + limits.handshake_timeout;
  } else if (stage_ == Stage::messages) {
    next = last_received_ + limits.silence_timeout;
    if (!keepalive_due_) next = earlier(next, last_sent_ + limits.keepalive_interval);
    if (message_since_ != Instant::never()) {
      next = earlier(next, message_since_ + limits.message_timeout);
    }
    if (redundant_since_ != Instant::never()) {
      next = earlier(next, redundant_since_ + limits.redundant_timeout);
    }
  }
  if (stage_ != Stage::closed && blocked_since_ != Instant::never()) {
    next = earlier(next, blocked_since_ + limits.stall_timeout);
  }
  return next;
}

void Session::on_timeout(Instant now) {
  if (stage_ == Stage::idle || stage_ == Stage::closed) return;
  now_ = now;
  const SessionLimits& limits = shared_->limits;
  const auto passed = [now](Instant since, Duration limit) {
    return since != Instant::never() && now - since >= limit;
  };
  if (stage_ != Stage::messages) {
    if (passed(opened_, limits.handshake_timeout)) return close(CloseReason::handshake_timeout);
  } else {
    if (passed(last_received_, limits.silence_timeout)) return close(CloseReason::silent_peer);
    if (passed(message_since_, limits.message_timeout)) return close(CloseReason::message_timeout);
    check_redundant(now);
    if (passed(redundant_since_, limits.redundant_timeout)) return close(CloseReason::both_seeds);
    if (passed(last_sent_, limits.keepalive_interval)) keepalive_due_ = true;
  }
  if (send_stalled(now)) return close(CloseReason::reader_stalled);
  timer_ = next_deadline();
}

// Bytes went out: a keepalive isn't needed for a while.
void Session::note_sent(Instant now) {
  now_ = now;
  last_sent_ = now;
  if (!keepalive_due_) return;
  keepalive_due_ = false;
  arm(now + shared_->limits.keepalive_interval);
}

// False: the peer has used up its small messages, and the session is closed.
bool Session::charge(std::uint32_t cost) {
  const SessionLimits& limits = shared_->limits;
  if (messages_.try_spend(now_, cost, limits.messages_per_second, limits.messages_burst)) {
    return true;
  }
  close(CloseReason::message_flood);
  return false;
}

bool Session::charge_unknown(std::uint32_t bytes) {
  const SessionLimits& limits = shared_->limits;
  if (unknown_.try_spend(now_, 1 + bytes / 1024, limits.unknown_per_second, limits.unknown_burst)) {
    return true;
  }
  close(CloseReason::unknown_message_flood);
  return false;
}

void Session::validate() const {
  if (stage_ == Stage::idle) return;
  requests_.validate(shared_->pages);
  rejects_.validate(shared_->pages);
  cancels_.validate(shared_->pages);
  ASSERT(items_count_ <= kOutItemsMax && items_head_ < kOutItemsMax);
  ASSERT(items_count_ > 0 ? out_offset_ < item(0).length : out_offset_ == 0);
  std::uint32_t committed = 0;
  for (std::size_t i = 0; i < items_count_; ++i) {
    if (item(i).kind == OutKind::rejects || item(i).kind == OutKind::requests) {
      committed += item(i).first;
    }
  }
  ASSERT(committed <= rejects_.size());
  ASSERT(partial_size_ <= kPartialMax && assembly_size_ < kSessionPageSize);
  ASSERT((assembly_page_ == kPageNone) == (assembly_size_ == 0));
  ASSERT((hash_page_ == kPageNone) == (hash_count_ == 0));
  ASSERT((body_left_ > 0) == (reading_ != Reading::header) || stage_ == Stage::closed);
  if (stage_ == Stage::closed) {
    ASSERT(requests_.empty() && rejects_.empty() && cancels_.empty() && items_count_ == 0);
    ASSERT(timer_ == Instant::never() && assembly_page_ == kPageNone);
    return;
  }
  ASSERT(timer_ <= next_deadline());
  ASSERT(stage_ != Stage::messages || torrent_ != nullptr);
  if (role_ == SessionRole::seed) {
    ASSERT(requests_.size() <= requests_room());
    ASSERT(!choked_ || requests_.empty());
    requests_.for_front(shared_->pages, requests_.size(), [&](const Request& r) {
      ASSERT(torrent_->blocks.contains(r.piece, r.begin, r.length) && r.length <= kBlockSize);
      return true;
    });
  }
}

}  // namespace penstock
