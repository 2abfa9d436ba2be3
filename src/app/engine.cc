#include "app/engine.hh"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include <spdlog/spdlog.h>

#include "app/full_check.hh"
#include "app/process_limits.hh"
#include "base/assert.hh"
#include "base/units.hh"
#include "host/clock.hh"
#include "peer/close_reason.hh"
#include "store/layout.hh"
#include "store/verify_state.hh"
#include "uring/ring.hh"

namespace penstock::app {

using control::TorrentId;
using control::TorrentState;

namespace {

constexpr std::uint32_t kTorrentsMax = 1u << 17;
// Messages of a ring between two shards.
constexpr std::size_t kExchangeCapacity = 16384;
// Slabs that a shard needs: a coalesced read for each of a few peers.
constexpr std::uint32_t kSlabsMin = 64;
// With own TCP: bytes of a connection's send buffer, at least; peers that keep the same block at
// once, in the mean; parts kept at once, about 140 bytes each.
constexpr std::uint64_t kSendBufferMin = 256 * 1024;
constexpr std::uint64_t kKeepersPerBlock = 4;
constexpr std::uint64_t kKeptPartsMax = 1u << 20;
constexpr auto kStewardPeriod = std::chrono::milliseconds(20);

// What the forest of a v2 torrent is made of.
std::unique_ptr<HashForest> make_forest(const Metainfo& metainfo) {
  if (!metainfo.has_v2) return nullptr;
  std::vector<HashForest::File> files;
  for (const FileEntry& file : metainfo.files) {
    if (file.padding || file.length == 0) continue;
    files.push_back(
        {file.pieces_root, file.length, metainfo.blocks.piece_at(file.offset), file.piece_layer});
  }
  return std::make_unique<HashForest>(files, metainfo.blocks.piece_size);
}

// The hashes that peers may name it by.
std::vector<WireInfoHash> wire_hashes(const Metainfo& metainfo) {
  std::vector<WireInfoHash> hashes;
  if (metainfo.v1_hash) hashes.push_back(*metainfo.v1_hash);
  if (metainfo.v2_hash) hashes.push_back(truncate(*metainfo.v2_hash));
  return hashes;
}

// "-PS0100-" and 12 random letters and digits (BEP 20).
std::array<std::byte, 20> make_peer_id(Entropy& entropy) {
  static constexpr std::string_view kPrefix = "-PS0100-";
  static constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::array<std::byte, 20> id;
  entropy.fill(id);
  for (std::size_t i = 0; i < id.size(); ++i) {
    id[i] = i < kPrefix.size()
                ? static_cast<std::byte>(kPrefix[i])
                : static_cast<std::byte>(kLetters[static_cast<unsigned>(id[i]) % 64]);
  }
  return id;
}

const char* io_error_text(IoError error) {
  switch (error) {
    case IoError::none:
      return "is shorter than the torrent says";
    case IoError::not_found:
      return "is not there";
    case IoError::forbidden:
      return "can't be opened: permission denied";
    case IoError::not_a_file:
      return "is no regular file";
    case IoError::media:
      return "can't be read: the device reports an error";
    case IoError::exhausted:
      return "can't be opened: out of descriptors or memory";
    case IoError::stale:
      return "is stale: its file system was mounted anew";
  }
  return "unknown error";
}

// "its pieces 3 to 17 are not offered …"
std::string pieces_of(const TorrentContent& content, FileIndex index) {
  const ContentFile& file = content.files[index.value];
  if (file.length == 0) return "it is empty";
  const std::uint32_t first = content.blocks.piece_at(file.offset).value;
  const std::uint32_t last = content.blocks.piece_at(file.offset + file.length - 1).value;
  const std::string which = first == last ? "its piece " + std::to_string(first) + " is"
                                          : "its pieces " + std::to_string(first) + " to " +
                                                std::to_string(last) + " are";
  return which + " not offered while it can't be read";
}

}  // namespace

// One torrent, from add_torrent until every shard has forgotten it.
struct Engine::Entry {
  TorrentId id;
  std::shared_ptr<const Metainfo> metainfo;
  std::unique_ptr<HashForest> forest;
  ShardTorrent shared;
  std::string pool_path;
  bool published = false;  // the shards have it
  bool removing = false;
  std::uint32_t removed_by = 0;      // shards that have forgotten it
  std::unique_ptr<FullCheck> check;  // VerifyChoice::full, under way
};

Engine::Engine(const control::EngineOptions& options) : options_(options) {}

Result<std::unique_ptr<control::EngineApi>> Engine::start(const control::EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine(options));
  if (auto started = engine->start_shards(); !started) {
    return tl::unexpected(std::move(started).error());
  }
  engine->steward_ = std::thread([e = engine.get()] { e->steward(); });
  return engine;
}

Result<void> Engine::start_shards() {
  auto capabilities = host::capabilities_from_environment();
  if (!capabilities) return tl::unexpected(std::move(capabilities).error());
  capabilities_ = *capabilities;
  if (capabilities_.uring) {
    if (auto usable = uring::Ring::probe(); !usable) {
      spdlog::warn("no io_uring here ({}): sockets through epoll, files through threads",
                   usable.error().message);
      capabilities_.uring = false;
    }
  }
  const std::uint32_t shards = options_.shards;
  if (shards == 0 || shards > 64) return fail("between 1 and 64 shards", ErrorKind::usage);
  if (!options_.cpus.empty() && options_.cpus.size() != shards) {
    return fail(std::to_string(options_.cpus.size()) + " cpus for " + std::to_string(shards) +
                    " shards: name one for each",
                ErrorKind::usage);
  }
  if (options_.network && options_.network->driver == control::OwnNetwork::Driver::xdp &&
      options_.network->addresses.empty()) {
    if (auto taken = take_kernel_addresses(*options_.network); !taken) return taken;
  }
  if (auto network = check_network(); !network) return network;
  descriptor_limit_ = raise_descriptor_limit();
  const DescriptorPlan descriptors =
      plan_descriptors(descriptor_limit_, options_.limits.peers_max, shards);
  const auto pages = capabilities_.hugepages ? host::PageChoice::huge : host::PageChoice::small;
  if (auto made = make_arena(pages); !made) return made;
  const std::uint32_t slabs = arena_.slab_count() / shards;
  if (slabs < kSlabsMin) {
    return fail("a cache of " + format_size(options_.cache_bytes) + " is too small for " +
                    std::to_string(shards) + " shards: give each at least " +
                    format_size(std::uint64_t{kSlabsMin} * kSlabSize),
                ErrorKind::usage);
  }
  if (descriptors.peers_max < options_.limits.peers_max) {
    spdlog::warn(
        "{} open files are allowed (ulimit -n, LimitNOFILE=): at most {} connections, not {}",
        descriptor_limit_, descriptors.peers_max, options_.limits.peers_max);
  }
  exchange_ = std::make_unique<Exchange>(static_cast<std::uint16_t>(shards), kExchangeCapacity);
  for (std::uint32_t i = kTorrentsMax; i > 0; --i)
    free_slots_.push_back(i - 1);
  host::SystemEntropy seeds;
  const auto peer_id = make_peer_id(seeds);
  std::vector<Endpoint> listen = options_.listen;
  for (std::uint32_t i = 0; i < shards; ++i) {
    RunnerOptions runner;
    runner.id = ShardId(static_cast<std::uint16_t>(i));
    runner.arena = arena_.part(i * slabs, slabs);
    if (!options_.cpus.empty()) runner.cpu = options_.cpus[i];
    runner.idle = options_.idle;
    runner.limits = limits_of(options_.limits, shards);
    runner.store_limits.open_files_max = descriptors.files_per_shard;
    runner.limits.torrents_max = kTorrentsMax;
    runner.session_limits.peer_id = peer_id;
    runner.store_limits.shard = runner.id;
    runner.store_limits.policy = options_.cache_policy;
    // What is copied anyway gains nothing by it.
    if (!capabilities_.splice) runner.store_limits.frame_after = 0;
    runner.io.capabilities = capabilities_;
    runner.io.direct = options_.io_direct;
    runner.io.pages = pages;
    runner.io.listen = listen;
    runner.io.streams_max = runner.limits.streams_max();
    seeds.fill(std::as_writable_bytes(std::span(&runner.seed, 1)));
    if (options_.network) set_up_own_tcp(runner, seeds);
    auto started = ShardRunner::start(std::move(runner), *exchange_);
    if (!started) return tl::unexpected(std::move(started).error());
    runners_.push_back(std::move(*started));
    // The first shard draws the port where none was given; the others share it.
    if (i == 0) listen = listening_ = runners_[0]->listening();
  }
  return {};
}

// In memory that the device of own TCP can send from, if it has a say in that.
Result<void> Engine::make_arena(host::PageChoice pages) {
  if (options_.network) {
    auto environment = open_nic_environment(*options_.network, capabilities_, options_.cache_bytes);
    if (!environment) return tl::unexpected(std::move(environment).error());
    environment_ = std::move(*environment);
  }
  if (environment_ && !environment_->content().empty()) {
    arena_ = Arena(environment_->content());
    return {};
  }
  auto mapping = host::map_arena(options_.cache_bytes, pages);
  if (!mapping) return tl::unexpected(std::move(mapping).error().context("cache"));
  mapping_ = std::move(*mapping);
  arena_ = mapping_.arena();
  return {};
}

// What the addresses and the backend don't allow.
Result<void> Engine::check_network() const {
  if (!options_.network) return check_ports_free(options_.listen);
  if (options_.shards > 1) {
    return fail("own TCP uses one queue of a device: it takes one shard for now (--shards 1)",
                ErrorKind::usage);
  }
  if (options_.network->addresses.empty()) {
    return fail("own TCP needs an address of ours (--address)", ErrorKind::usage);
  }
  return {};
}

void Engine::set_up_own_tcp(RunnerOptions& runner, Entropy& entropy) const {
  OwnTcpOptions own;
  own.network = *options_.network;
  own.environment = environment_.get();
  for (const Endpoint& endpoint : options_.listen)
    own.ports.push_back(endpoint.port);
  entropy.fill(std::as_writable_bytes(std::span(own.secret)));
  // What one peer doesn't acknowledge must leave most of the memory to others.
  own.send_buffer = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(options_.cache_bytes / 16, kSendBufferMin, own.send_buffer));
  runner.limits.kept_parts_max = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(options_.cache_bytes / kBlockSize * kKeepersPerBlock, kKeptPartsMax));
  // A header in front of a block in memory is for senders that hand out pages.
  runner.store_limits.frame_after = 0;
  runner.io.content = runner.arena.memory();
  runner.io.own_tcp = std::move(own);
}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [id, entry] : torrents_) {
      if (entry->check) entry->check->cancel();
    }
  }
  wake_steward_.notify_all();
  if (steward_.joinable()) steward_.join();
  // Shards ring one another's bells until the last of them has stopped.
  {
    const std::lock_guard lock(mutex_);
    post_all({.kind = ControlMessage::Kind::stop});
  }
  for (auto& runner : runners_)
    runner->wait_stopped();
  for (auto& runner : runners_)
    runner->join();
  for (auto& [id, entry] : torrents_) {
    entry->check.reset();
    save_state(*entry);
  }
}

std::string Engine::state_path(const Entry& entry) const {
  return options_.state_directory + "/" + entry.metainfo->wire_hash().hex() + ".verify";
}

// What an earlier run has verified; the store compares the files' facts when it opens them.
void Engine::load_state(Entry& entry) {
  if (options_.state_directory.empty()) return;
  std::ifstream file(state_path(entry), std::ios::binary);
  if (!file) return;
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const auto applied = apply_verify_state(*entry.shared.content, entry.metainfo->wire_hash(),
                                          std::as_bytes(std::span(bytes)));
  if (!applied) {
    spdlog::warn("{}: {}: verified anew", state_path(entry), applied.error().message);
  }
}

// When no shard has it any more. A state that can't be written costs time at the next start, no
// more.
void Engine::save_state(const Entry& entry) {
  if (options_.state_directory.empty()) return;
  const std::string path = state_path(entry);
  const std::string partial = path + ".new";
  const std::vector<std::byte> bytes =
      encode_verify_state(*entry.shared.content, entry.metainfo->wire_hash());
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(partial, path, error);
  if (!file || error) {
    spdlog::warn("{}: can't be written: verification starts anew next time", path);
    std::filesystem::remove(partial, error);
  }
}

Result<PoolIndex> Engine::open_pool(const std::string& directory) {
  std::error_code error;
  const std::string path = std::filesystem::canonical(directory, error).string();
  if (error) {
    return fail("data directory " + directory + ": " + error.message(), ErrorKind::not_found);
  }
  const std::lock_guard lock(pools_mutex_);
  for (std::uint32_t i = 0; i < pools_.size(); ++i) {
    if (pools_[i] == path) return PoolIndex(i);
  }
  const PoolIndex index(static_cast<std::uint32_t>(pools_.size()));
  for (auto& runner : runners_) {
    auto opened = runner->open_pool(path);
    if (!opened) return opened;
    ASSERT(*opened == index);
  }
  pools_.push_back(path);
  return index;
}

Result<TorrentId> Engine::add_torrent(const control::AddTorrent& request) {
  auto entry = std::make_unique<Entry>();
  entry->metainfo = request.metainfo;
  const Metainfo& metainfo = *request.metainfo;
  std::uint32_t slot = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const WireInfoHash& hash : wire_hashes(metainfo)) {
      if (hashes_.contains(hash)) return fail("\"" + metainfo.name + "\" is served already");
    }
    if (free_slots_.empty()) {
      return fail("more than " + std::to_string(kTorrentsMax) + " torrents");
    }
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  const auto shards = static_cast<std::uint32_t>(runners_.size());
  const auto mode =
      request.verify == control::VerifyChoice::trust ? VerifyMode::trust : VerifyMode::lazy;
  auto content = make_content(metainfo, TorrentSlot(slot), request.pool, mode, shards);
  if (!content) {
    const std::lock_guard lock(mutex_);
    free_slots_.push_back(slot);
    return tl::unexpected(std::move(content).error());
  }
  entry->forest = make_forest(metainfo);
  entry->shared.content = std::move(*content);
  entry->shared.counters = std::make_unique<TorrentCounters[]>(shards);
  entry->shared.bucket.set_rate(host::MonotonicClock().now(), request.upload_rate);
  {
    const std::lock_guard lock(pools_mutex_);
    entry->pool_path = pools_.at(request.pool.value);
  }
  Torrent& torrent = entry->shared.torrent;
  torrent.slot = TorrentSlot(slot);
  for (const WireInfoHash& hash : wire_hashes(metainfo)) {
    torrent.hash_list[torrent.hash_count++] = hash;
  }
  torrent.has_v2 = metainfo.has_v2;
  torrent.is_private = metainfo.is_private;
  torrent.blocks = metainfo.blocks;
  torrent.pieces = entry->shared.content->pieces.get();
  torrent.info_bytes = metainfo.info_bytes;
  torrent.forest = entry->forest.get();
  load_state(*entry);

  const std::lock_guard lock(mutex_);
  for (const WireInfoHash& hash : wire_hashes(metainfo))
    hashes_.insert(hash);
  entry->id = TorrentId(next_id_++);
  entry->shared.id = entry->id.value;
  Entry& placed = *entry;
  torrents_.emplace(placed.id.value, std::move(entry));
  if (request.verify == control::VerifyChoice::full) {
    placed.check =
        std::make_unique<FullCheck>(placed.metainfo, *placed.shared.content, placed.pool_path);
    unsettled_.push_back(placed.id.value);
  } else {
    publish(placed);
  }
  return placed.id;
}

// The shards serve it from now on. Under mutex_.
void Engine::publish(Entry& entry) {
  entry.published = true;
  post_all({.kind = ControlMessage::Kind::add_torrent, .torrent = &entry.shared});
}

Result<void> Engine::remove_torrent(TorrentId id) {
  const std::lock_guard lock(mutex_);
  const auto found = torrents_.find(id.value);
  if (found == torrents_.end() || found->second->removing) {
    return fail("no such torrent", ErrorKind::not_found);
  }
  Entry& entry = *found->second;
  entry.removing = true;
  entry.shared.torrent.withdrawn.store(true, std::memory_order_relaxed);
  // The steward frees it, once the check has ended.
  if (entry.check)
    entry.check->cancel();
  else
    unsettled_.push_back(entry.id.value);
  if (entry.published) {
    post_all({.kind = ControlMessage::Kind::remove_torrent, .torrent = &entry.shared});
  }
  return {};
}

Result<void> Engine::set_limits(const control::EngineLimits& limits) {
  const std::lock_guard lock(mutex_);
  options_.limits = limits;
  const ShardLimits each = limits_of(limits, static_cast<std::uint32_t>(runners_.size()));
  post_all({.kind = ControlMessage::Kind::set_rate, .value = each.upload_rate});
  post_all({.kind = ControlMessage::Kind::set_peers_max,
            .value = each.connections_max | std::uint64_t{each.per_ip_max} << 32});
  return {};
}

Result<void> Engine::set_torrent_rate(TorrentId id, std::uint64_t upload_rate) {
  const std::lock_guard lock(mutex_);
  const auto found = torrents_.find(id.value);
  if (found == torrents_.end() || found->second->removing) {
    return fail("no such torrent", ErrorKind::not_found);
  }
  Entry& entry = *found->second;
  if (entry.published) {
    // Those who wait for the old limit must hear of the new one.
    post_all({.kind = ControlMessage::Kind::set_torrent_rate,
              .torrent = &entry.shared,
              .value = upload_rate});
  } else {
    entry.shared.bucket.set_rate(host::MonotonicClock().now(), upload_rate);
  }
  return {};
}

// What each of `shards` gets of the engine's limits.
ShardLimits Engine::limits_of(const control::EngineLimits& limits, std::uint32_t shards) const {
  const std::uint32_t peers =
      plan_descriptors(descriptor_limit_, limits.peers_max, shards).peers_max;
  ShardLimits each;
  each.connections_max = std::max(1u, (peers + shards - 1) / shards);
  each.per_ip_max = limits.peers_per_ip_max;
  each.upload_rate = limits.upload_rate;
  return each;
}

// A full ring means that the shard is far behind: wait for it (control may block; a shard takes
// these messages whatever else waits). Under mutex_.
void Engine::post(ShardId shard, const ControlMessage& message) {
  while (!exchange_->to_shard(shard).try_send(message)) {
    exchange_->doorbell(shard).ring_if_parked();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  exchange_->doorbell(shard).ring_if_parked();
}

void Engine::post_all(const ControlMessage& message) {
  for (std::size_t i = 0; i < runners_.size(); ++i) {
    post(ShardId(static_cast<std::uint16_t>(i)), message);
  }
}

void Engine::steward() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_steward_.wait_for(lock, kStewardPeriod);
    tell_trouble();
    ShardReport report;
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      while (exchange_->from_shard(ShardId(static_cast<std::uint16_t>(i))).try_receive(report)) {
        on_report(report);
      }
    }
    std::erase_if(unsettled_, [this](std::uint64_t id) { return settle(id); });
  }
}

// Takes a torrent's check or removal as far as it goes now. True: to its end. Under mutex_.
bool Engine::settle(std::uint64_t id) {
  const auto found = torrents_.find(id);
  ASSERT(found != torrents_.end());
  Entry& entry = *found->second;
  if (entry.check && entry.check->done()) finish_check(entry);
  if (entry.check) return false;
  if (!entry.removing) return true;
  if (entry.published && entry.removed_by != runners_.size()) return false;
  save_state(entry);
  for (const WireInfoHash& hash : wire_hashes(*entry.metainfo))
    hashes_.erase(hash);
  free_slots_.push_back(entry.shared.torrent.slot.value);
  torrents_.erase(found);
  return true;
}

// Once each, by whichever shard has it first.
void Engine::tell_trouble() {
  for (std::size_t i = 0; i < runners_.size() && !failure_told_; ++i) {
    const char* const why = runners_[i]->failure();
    if (*why == '\0') continue;
    failure_told_ = true;
    spdlog::error("no peer can be reached any more: {}", why);
  }
  for (std::size_t i = 0; i < runners_.size() && !splice_trouble_told_; ++i) {
    const char* const why = runners_[i]->splice_trouble();
    if (*why == '\0') continue;
    splice_trouble_told_ = true;
    spdlog::warn("content is copied to the sockets, which takes more CPU: {}", why);
  }
}

void Engine::finish_check(Entry& entry) {
  const FullCheck::Outcome outcome = entry.check->outcome();
  entry.check.reset();
  if (entry.removing) return;
  const std::string& name = entry.metainfo->name;
  if (outcome.error) spdlog::error("{}: {}", name, outcome.error->message);
  if (outcome.lost > 0) {
    spdlog::warn("{}: {} of {} pieces are bad or missing and not offered", name, outcome.lost,
                 entry.metainfo->blocks.piece_count());
  }
  publish(entry);
}

void Engine::on_report(const ShardReport& report) {
  const auto found = torrents_.find(report.torrent->id);
  ASSERT(found != torrents_.end());  // freed only after the last report about it
  Entry& entry = *found->second;
  switch (report.kind) {
    case ShardReport::Kind::torrent_removed:
      ++entry.removed_by;
      return;
    case ShardReport::Kind::store_event:
      on_store_event(entry, report.event);
      return;
  }
}

// A file that isn't there at all has been named with all its pieces.
void Engine::log_lost_piece(const Entry& entry, const StoreEvent& event) {
  const std::string& name = entry.metainfo->name;
  const std::string& file = entry.shared.content->files[event.file.value].path;
  switch (event.cause) {
    case StoreEvent::Cause::wrong_bytes:
      spdlog::error(
          "{}: piece {} is lost: its bytes in {} don't match the torrent; it is not offered "
          "until the file is repaired",
          name, event.piece.value, file);
      return;
    case StoreEvent::Cause::unreadable:
      spdlog::error("{}: piece {} is lost: {} {}; it is not offered until it can be read", name,
                    event.piece.value, file, io_error_text(event.error));
      return;
    case StoreEvent::Cause::no_file:
      spdlog::debug("{}: piece {} is lost with {}", name, event.piece.value, file);
      return;
  }
}

void Engine::on_store_event(Entry& entry, const StoreEvent& event) {
  const std::string& name = entry.metainfo->name;
  const auto file_name = [&](FileIndex file) -> const std::string& {
    return entry.shared.content->files[file.value].path;
  };
  switch (event.kind) {
    case StoreEvent::Kind::piece_lost:
      log_lost_piece(entry, event);
      post_all({.kind = ControlMessage::Kind::piece_lost,
                .torrent = &entry.shared,
                .value = event.piece.value});
      return;
    case StoreEvent::Kind::piece_recovered:
      spdlog::info("{}: piece {} is offered again", name, event.piece.value);
      post_all({.kind = ControlMessage::Kind::piece_recovered,
                .torrent = &entry.shared,
                .value = event.piece.value});
      return;
    case StoreEvent::Kind::file_error:
      spdlog::error("{}: {} {}; {}", name, file_name(event.file), io_error_text(event.error),
                    event.cause == StoreEvent::Cause::no_file
                        ? pieces_of(*entry.shared.content, event.file)
                        : "what can't be read of it is not offered");
      return;
    case StoreEvent::Kind::file_changed:
      spdlog::warn("{}: {} has changed; its pieces are verified again", name,
                   file_name(event.file));
      return;
  }
}

void Engine::snapshot(control::EngineSnapshot& out) {
  out.close_reasons.clear();
  for (std::size_t i = 0; i < kCloseReasonCount; ++i) {
    out.close_reasons.push_back(close_reason_name(static_cast<CloseReason>(i)).data());
  }
  out.shards.resize(runners_.size());
  for (std::size_t i = 0; i < runners_.size(); ++i)
    runners_[i]->read_counters(out.shards[i]);
  out.arena_bytes = arena_.memory().size();
  out.torrents.clear();
  const std::lock_guard lock(mutex_);
  for (const auto& [id, entry] : torrents_) {
    control::TorrentSnapshot t;
    t.id = entry->id;
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      t.uploaded_bytes += entry->shared.counters[i].uploaded.load(std::memory_order_relaxed);
      t.peers += entry->shared.counters[i].peers.load(std::memory_order_relaxed);
    }
    const PieceStates& pieces = *entry->shared.content->pieces;
    t.pieces_verified = pieces.count_of(PieceState::verified);
    t.pieces_lost = pieces.count_of(PieceState::lost);
    t.state = entry->removing     ? TorrentState::stopping
              : entry->check      ? TorrentState::checking
              : t.pieces_lost > 0 ? TorrentState::degraded
                                  : TorrentState::seeding;
    out.torrents.push_back(t);
  }
}

std::vector<Endpoint> Engine::listening() const {
  return listening_;
}

}  // namespace penstock::app
