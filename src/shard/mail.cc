// Content whose home is another shard: want → ready → release.
//
// Flow control: a want is open from its posting until its block is released (or the answer was that
// there is none). A shard has at most a quarter of a ring's capacity of wants open at one home. A
// home that takes nothing for a while sends nothing either, so meanwhile at most that many
// releases, that many new wants and that many answers to its own wants pile up on the way there: no
// ring overflows, and only opening a want can be refused. The last quarter is for fences.
// Receivers are woken once a cycle (flush_mail), however many messages went out.
#include "shard/connection.hh"
#include "shard/shard.hh"

namespace penstock {

namespace {
// Messages taken from one neighbour in one cycle.
constexpr int kMailBurst = 256;
}  // namespace

// False: too many wants are open at that home.
bool Shard::open_want(ShardId home, const BlockWant& want) {
  std::uint32_t& open = pools_->open_wants[home.value];
  if (open == exchange_.wants_open_max()) return false;
  ++open;
  post(home, ShardMessage{.kind = ShardMessage::Kind::want, .want = want});
  return true;
}

void Shard::post(ShardId to, const ShardMessage& message) {
  const bool sent = exchange_.between(id_, to).try_send(message);
  ASSERT(sent);
  pools_->mailed[to.value] = true;
}

void Shard::post_release(ShardId home, const Block& block, bool exposed) {
  --pools_->open_wants[home.value];
  post(home, ShardMessage{.kind = ShardMessage::Kind::release, .exposed = exposed, .block = block});
}

void Shard::answer(std::uint64_t token, WantStatus status, const Block& block) {
  ShardMessage message{.kind = ShardMessage::Kind::ready, .status = status, .block = block};
  message.want.token = token;
  post(ShardId(Token::unpack(token).shard), message);
}

// Says once to every other shard that no more wants for this torrent come from here. False: try
// again.
bool Shard::send_fences(ShardTorrent* torrent) {
  TorrentCounters& mine = torrent->counters[id_.value];
  for (; mine.fences_sent < exchange_.shard_count(); ++mine.fences_sent) {
    if (mine.fences_sent == id_.value) continue;
    const ShardId to(static_cast<std::uint16_t>(mine.fences_sent));
    if (!exchange_.between(id_, to).roomy()) return false;
    post(to, ShardMessage{.kind = ShardMessage::Kind::fence, .leaving = torrent});
  }
  return true;
}

bool Shard::take_mail(Instant now) {
  bool any = false;
  for (std::uint16_t from = 0; from < exchange_.shard_count(); ++from) {
    if (from == id_.value) continue;
    ShardMessage message;
    for (int i = 0; i < kMailBurst; ++i) {
      if (!exchange_.between(ShardId(from), id_).try_receive(message)) break;
      any = true;
      handle_mail(now, ShardId(from), message);
    }
  }
  return any;
}

void Shard::handle_mail(Instant now, ShardId from, const ShardMessage& message) {
  switch (message.kind) {
    case ShardMessage::Kind::want: {
      Block block;
      const ShardTorrent* torrent = pools_->by_slot[message.want.torrent->slot.value];
      WantStatus status =
          WantStatus::busy;  // not added here yet, or leaving: the asker's sessions are closing
      if (torrent != nullptr && torrent->content.get() == message.want.torrent) {
        status = store_.want(now, message.want, block);
      }
      if (status != WantStatus::pending) answer(message.want.token, status, block);
      return;
    }
    case ShardMessage::Kind::fence:
      ++message.leaving->counters[id_.value].fences;
      return;
    case ShardMessage::Kind::ready:
      if (message.status != WantStatus::ready) --pools_->open_wants[from.value];
      on_block_ready(now, BlockReady{message.want.token, message.status, message.block}, from);
      return;
    case ShardMessage::Kind::release:
      store_.release(message.block, message.exposed);
      return;
  }
  UNREACHABLE();
}

void Shard::flush_mail() {
  for (std::uint16_t to = 0; to < exchange_.shard_count(); ++to) {
    if (!pools_->mailed[to]) continue;
    pools_->mailed[to] = false;
    exchange_.doorbell(ShardId(to)).ring_if_parked();
  }
}

bool Shard::mail_waiting() const {
  if (!exchange_.to_shard(id_).empty()) return true;
  for (std::uint16_t from = 0; from < exchange_.shard_count(); ++from) {
    if (from != id_.value && !exchange_.between(ShardId(from), id_).empty()) return true;
  }
  return false;
}

}  // namespace penstock
