// Hash requests (BEP 52, messages 21 to 23): from the torrent's forest at once, for leaves with
// the shard's help, one piece at a time and in the order in which they came.
#include "crypto/merkle.hh"
#include "peer/hash_job.hh"
#include "peer/small_writer.hh"

namespace penstock {

namespace {

// What libtorrent answers at most; BEP 52 asks for 512.
constexpr std::uint32_t kHashesMax = 8192;

// The request names hashes that the tree has, padding included. BEP 52: a power of two of hashes,
// aligned to itself, unless cut short by the end of the layer (libtorrent 2.0 cuts it at the last
// hash that isn't padding).
bool is_answerable(const MerkleShape& shape, const wire::HashQuery& q) {
  if (q.length == 0 || q.length > kHashesMax || q.base_layer >= shape.tree_height) return false;
  if (q.proof_layers >= shape.tree_height - q.base_layer) return false;
  if (q.index % std::bit_ceil(q.length) != 0) return false;
  return std::uint64_t{q.index} + q.length <= shape.width(q.base_layer);
}

}  // namespace

Session::HashJob* Session::hash_job(std::uint32_t index) const {
  static_assert(kHashJobsMax * sizeof(HashJob) <= kSessionPageSize);
  DCHECK(index < kHashJobsMax && hash_page_ != kPageNone);
  auto* const jobs = reinterpret_cast<HashJob*>(shared_->pages.bytes(hash_page_));
  return jobs + (hash_head_ + index) % kHashJobsMax;
}

// bytes: the whole message.
void Session::on_hash_request(const std::byte* bytes) {
  const SessionLimits& limits = shared_->limits;
  if (hash_page_ == kPageNone) {
    hash_page_ = shared_->pages.take();
    if (hash_page_ == kPageNone) return close(CloseReason::no_resources);
    hash_head_ = 0;
  }
  if (hash_count_ == kHashJobsMax) return close(CloseReason::hash_request_flood);
  HashJob& job = *std::construct_at(hash_job(hash_count_));
  ++hash_count_;
  const wire::Decoded decoded = wire::decode_message({bytes, wire::kHashHeaderSize}, {});
  job.query = wire::hash_query(decoded.message);
  const wire::HashQuery& q = job.query;
  if (q.length == 0) return close(CloseReason::hash_request_malformed);
  // Rejecting isn't free either.
  if (!hashes_.try_spend(now_, 1 + std::min(q.length, kHashesMax) / 64,
                         limits.hash_requests_per_second, limits.hash_requests_burst)) {
    if (!messages_.try_spend(now_, 1, limits.messages_per_second, limits.messages_burst)) {
      close(CloseReason::hash_request_flood);
    }
    return;
  }
  if (torrent_->forest == nullptr) return;
  const HashedFile* const file = torrent_->forest->find(q.pieces_root);
  if (file == nullptr || file->tree == nullptr || !is_answerable(file->shape, q)) return;
  const unsigned height = file->tree->base_height();
  if (q.base_layer < height) {
    // From the leaves of one piece. Layers in between are nobody's need (BEP 52: need not be
    // supported).
    const std::uint64_t span = std::uint64_t{1} << (height - q.base_layer);
    if (q.base_layer != 0 || q.length > span || span > kHashesMax) return;
    job.piece = PieceIndex(file->first_piece.value + (q.index >> height));
    if (job.piece.value >= torrent_->blocks.piece_count() ||
        q.index >> height >= file->shape.piece_count || !torrent_->pieces->offered(job.piece) ||
        !leaves_.try_spend(now_, 1, limits.leaf_requests_per_second, limits.leaf_requests_burst)) {
      return;
    }
    job.from_leaves = true;
  }
  job.file = file;
  job.state = job.from_leaves ? HashJob::State::needs_leaves : HashJob::State::ready;
}

void Session::on_leaf_hashes(Instant now, std::span<const Sha256Digest> leaves) {
  if (stage_ != Stage::messages || hash_count_ == 0) {
    leaf_hashes_done_ = true;
    return;
  }
  now_ = now;
  HashJob& job = *hash_job(0);
  ASSERT(job.state == HashJob::State::waits_for_leaves);
  const MerkleTree& tree = *job.file->tree;
  const unsigned height = tree.base_height();
  const std::uint32_t piece = job.query.index >> height;
  const std::uint64_t first = std::uint64_t{piece} << height;
  const std::uint64_t expected =
      std::min<std::uint64_t>(job.file->shape.leaf_count - first, std::uint64_t{1} << height);
  leaf_hashes_ = leaves;
  // What doesn't lead to the torrent's own hash isn't told to anyone.
  const bool right = leaves.size() == expected && shared_->hasher->root(leaves, 0, height) ==
                                                      tree.node(height, piece, *shared_->hasher);
  if (!right) {
    leaf_hashes_ = {};
    leaf_hashes_done_ = true;
  }
  job.state = right ? HashJob::State::ready : HashJob::State::reject;
}

void Session::refuse_leaf_hashes(Instant now) {
  if (stage_ != Stage::messages || hash_count_ == 0) return;
  now_ = now;
  HashJob& job = *hash_job(0);
  ASSERT(job.state == HashJob::State::waits_for_leaves);
  job.state = HashJob::State::reject;
}

bool Session::hash_reply_ready() const {
  if (hash_count_ == 0) return false;
  const HashJob::State state = hash_job(0)->state;
  return state == HashJob::State::ready || state == HashJob::State::reject;
}

void Session::commit_hash_reply() {
  const HashJob& job = *hash_job(0);
  if (job.state == HashJob::State::reject) {
    return commit(OutKind::hash_reject, wire::kHashHeaderSize);
  }
  const std::uint32_t hashes = job.query.length + proof_layers(job.query).count;
  commit(OutKind::hashes, static_cast<std::uint32_t>(wire::kHashHeaderSize) +
                              hashes * std::uint32_t{sizeof(Sha256Digest)});
}

void Session::write_hashes(Writer& writer, const HashJob& job) const {
  const wire::HashQuery& q = job.query;
  const ProofLayers proof = proof_layers(q);
  writer.put(wire::encode_hash_header(wire::MessageId::hashes, q, q.length + proof.count));
  const MerkleTree& tree = *job.file->tree;
  MerkleHasher& hasher = *shared_->hasher;
  const unsigned height = tree.base_height();
  // leaf_hashes_ begins at this leaf of the file.
  const std::uint64_t first = std::uint64_t{q.index >> height} << height;
  // The node of a layer below the tree's: over as many of the leaves as there are.
  const auto below = [&](std::uint32_t layer, std::uint64_t index) -> Sha256Digest {
    const std::uint64_t begin = (index << layer) - first;
    if (begin >= leaf_hashes_.size()) return hasher.pad(layer);
    const std::uint64_t count =
        std::min<std::uint64_t>(leaf_hashes_.size() - begin, std::uint64_t{1} << layer);
    return hasher.root(leaf_hashes_.subspan(begin, count), 0, layer);
  };
  const auto put_node = [&](std::uint32_t layer, std::uint64_t index) {
    if (writer.skips(sizeof(Sha256Digest))) return;
    if (layer < height) {
      writer.put(below(layer, index).bytes);
    } else {
      writer.put(tree.node(layer, index, hasher).bytes);
    }
  };
  for (std::uint32_t i = 0; i < q.length && !writer.full(); ++i)
    put_node(q.base_layer, std::uint64_t{q.index} + i);
  for (std::uint32_t i = 0; i < proof.count && !writer.full(); ++i) {
    const std::uint32_t layer = proof.first + i;
    put_node(layer, (std::uint64_t{q.index} >> (layer - q.base_layer)) ^ 1);
  }
}

void Session::finish_hash_job() {
  const HashJob& job = *hash_job(0);
  if (job.from_leaves && job.state == HashJob::State::ready) {
    leaf_hashes_ = {};
    leaf_hashes_done_ = true;
  }
  hash_head_ = static_cast<std::uint8_t>((hash_head_ + 1) % kHashJobsMax);
  if (--hash_count_ == 0) drop_hash_jobs();
}

void Session::drop_hash_jobs() {
  if (hash_page_ == kPageNone) return;
  shared_->pages.give_back(hash_page_);
  hash_page_ = kPageNone;
  hash_count_ = 0;
}

}  // namespace penstock
