// Torrents with known bytes, and a store over a TestDisk that holds them.
#pragma once

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "crypto/merkle.hh"
#include "crypto/sha.hh"
#include "store/layout.hh"
#include "store/shard_content.hh"
#include "store/store.hh"
#include "test_disk.hh"

namespace penstock {

struct TestFile {
  std::uint64_t length = 0;
  bool padding = false;
};

enum class Hashes { v1, v2, hybrid };

struct TestTorrent {
  std::unique_ptr<TorrentContent> content;
  std::vector<std::byte> bytes;  // the piece space: what every answer must equal

  [[nodiscard]] const std::byte* at(PieceIndex piece, std::uint32_t begin) const {
    return bytes.data() + content->blocks.piece_offset(piece) + begin;
  }
  // The file's bytes as they should be on the disk.
  [[nodiscard]] std::vector<std::byte> file_bytes(std::uint32_t index) const {
    const ContentFile& file = content->files[index];
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(file.offset);
    return {begin, begin + static_cast<std::ptrdiff_t>(file.length)};
  }
};

inline std::vector<Sha256Digest> leaves_of(std::span<const std::byte> bytes) {
  std::vector<Sha256Digest> leaves;
  for (std::size_t at = 0; at < bytes.size(); at += kBlockSize)
    leaves.push_back(
        sha256(bytes.subspan(at, std::min<std::size_t>(kBlockSize, bytes.size() - at))));
  return leaves;
}

// v2 and hybrid torrents begin every file at a piece: hybrids through padding files, v2 by gaps.
inline TestTorrent make_torrent(TestDisk& disk, const std::string& name, std::uint32_t piece_size,
                                const std::vector<TestFile>& files, Hashes hashes, Random& random,
                                VerifyMode verify = VerifyMode::lazy, PoolIndex pool = PoolIndex(0),
                                std::uint32_t shards = 1) {
  TestTorrent torrent;
  torrent.content = std::make_unique<TorrentContent>();
  TorrentContent& content = *torrent.content;
  content.verify = verify;
  content.pool = pool;
  std::uint64_t offset = 0;
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (hashes != Hashes::v1 && files[i].length > 0 && offset % piece_size != 0) {
      const std::uint64_t gap = piece_size - offset % piece_size;
      if (hashes == Hashes::hybrid)
        content.files.push_back({name + "/.pad/" + std::to_string(i), offset, gap, true, {}});
      offset += gap;
    }
    ContentFile file;
    file.path = name + "/" + std::to_string(i);
    file.offset = offset;
    file.length = files[i].length;
    file.padding = files[i].padding;
    content.files.push_back(file);
    offset += file.length;
    end = offset;
  }
  content.blocks = {end, piece_size};
  torrent.bytes.assign(end, std::byte{0});
  const std::uint32_t pieces = content.blocks.piece_count();
  if (hashes != Hashes::v1) content.v2_pieces.resize(pieces);
  MerkleHasher hasher;
  for (ContentFile& file : content.files) {
    const std::span<std::byte> bytes = std::span(torrent.bytes).subspan(file.offset, file.length);
    if (!file.padding) {
      for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random.next() & 255);
      disk.put(file.path, {bytes.begin(), bytes.end()});
    }
    if (hashes == Hashes::v1 || file.padding || file.length == 0) continue;
    const MerkleShape shape = MerkleShape::of(file.length, piece_size);
    for (std::uint64_t at = 0; at < file.length; at += piece_size) {
      const auto part = bytes.subspan(at, std::min<std::uint64_t>(piece_size, file.length - at));
      content.v2_pieces[(file.offset + at) / piece_size] =
          hasher.root_of_piece(shape, leaves_of(part));
    }
  }
  for (std::uint32_t i = 0; hashes != Hashes::v2 && i < pieces; ++i) {
    content.v1_pieces.push_back(
        sha1({torrent.bytes.data() + content.blocks.piece_offset(PieceIndex(i)),
              content.blocks.piece_length(PieceIndex(i))}));
  }
  finish_content(content, shards);
  return torrent;
}

// A store, its memory and its disk, run in virtual time.
class StoreWorld {
 public:
  explicit StoreWorld(std::uint32_t slabs = 64, StoreLimits limits = {}, std::uint64_t seed = 1)
      : disk(seed), random(seed), memory_(allocate(slabs)), limits_(limits) {
    store =
        std::make_unique<Store>(Arena({memory_.get(), std::size_t{slabs} * kSlabSize}), limits_);
  }

  // Moves operations and completions until nothing happens by itself any more.
  void pump(int rounds = 20000) {
    for (int i = 0; i < rounds; ++i) {
      bool moved = store->do_work(now);
      moved |= submit();
      moved |= complete(64);
      if (validating) store->validate();
      collect();
      if (!moved) return;
    }
    UNREACHABLE();  // it never comes to rest
  }
  bool submit() {
    bool moved = false;
    StorageOp op;
    while (store->poll_io(op)) {
      if (before_submit) before_submit(disk.submitted);
      if (!disk.try_submit(op)) {
        store->io_refused(op);
        // With nothing in flight no completion would make room: the next round tries again.
        moved |= disk.pending() == 0;
        break;
      }
      moved = true;
    }
    return moved;
  }
  bool complete(std::size_t count) {
    std::vector<StorageCompletion> done(count);
    const std::size_t n = disk.poll_completions(done);
    for (std::size_t i = 0; i < n; ++i)
      store->on_completion(now, done[i]);
    return n > 0;
  }
  // Lets time pass, waking when the store asks to be.
  void advance(Duration by) {
    const Instant until = now + by;
    for (;;) {
      pump();
      const Instant next = store->next_timeout();
      if (next > until) break;
      now = next > now ? next : now + Duration::milliseconds(1);
    }
    now = until;
    pump();
  }

  struct Answer {
    WantStatus status = WantStatus::pending;
    std::vector<std::byte> bytes;
  };

  static std::vector<std::byte> bytes_of(const Block& block) {
    std::vector<std::byte> out;
    for (std::uint8_t i = 0; i < block.part_count; ++i)
      out.insert(out.end(), block.parts[i].data, block.parts[i].data + block.parts[i].length);
    return out;
  }

  WantStatus ask(TestTorrent& torrent, PieceIndex piece, std::uint32_t begin, std::uint32_t length,
                 std::uint64_t token) {
    Block block;
    const WantStatus status =
        store->want(now, {torrent.content.get(), piece, begin, length, token}, block);
    if (status == WantStatus::ready) {
      answers[token] = {status, bytes_of(block)};
      store->release(block, false);
    } else if (status == WantStatus::lost) {
      answers[token] = {status, {}};
    }
    return status;
  }
  void collect() {
    BlockReady ready;
    while (store->poll_ready(ready)) {
      ASSERT(answers.count(ready.token) == 0);
      answers[ready.token] = {ready.status, bytes_of(ready.block)};
      if (ready.status == WantStatus::ready) store->release(ready.block, false);
    }
    StoreEvent event;
    while (store->poll_event(event))
      events.push_back(event);
  }
  // Asks, and runs until answered.
  Answer fetch(TestTorrent& torrent, PieceIndex piece, std::uint32_t begin, std::uint32_t length) {
    const std::uint64_t token = ++last_token_ | (std::uint64_t{1} << 63);
    const WantStatus status = ask(torrent, piece, begin, length, token);
    if (status == WantStatus::busy) return {status, {}};
    for (int i = 0; i < 10000 && answers.count(token) == 0; ++i) {
      pump();
      if (answers.count(token) != 0) break;
      const Instant next = store->next_timeout();
      if (next == Instant::never()) break;
      now = next > now ? next : now + Duration::milliseconds(1);
    }
    const auto found = answers.find(token);
    if (found == answers.end()) return {WantStatus::pending, {}};
    const Answer answer = found->second;
    answers.erase(found);
    return answer;
  }
  // Fetches any range that a peer may ask for: whether its bytes came.
  bool serves_random_range(TestTorrent& torrent) {
    const BlockInfo& blocks = torrent.content->blocks;
    const PieceIndex piece(static_cast<std::uint32_t>(random.below(blocks.piece_count())));
    const std::uint32_t whole = blocks.piece_length(piece);
    const auto begin = static_cast<std::uint32_t>(random.below(whole));
    const auto length =
        static_cast<std::uint32_t>(1 + random.below(std::min(kBlockSize, whole - begin)));
    const Answer answer = fetch(torrent, piece, begin, length);
    return answer.status == WantStatus::ready && answer.bytes.size() == length &&
           std::memcmp(answer.bytes.data(), torrent.at(piece, begin), length) == 0;
  }
  [[nodiscard]] std::size_t count(StoreEvent::Kind kind) const {
    return static_cast<std::size_t>(std::count_if(
        events.begin(), events.end(), [kind](const StoreEvent& e) { return e.kind == kind; }));
  }

  TestDisk disk;
  Random random;
  Instant now{1'000'000'000};
  std::unique_ptr<Store> store;
  std::unordered_map<std::uint64_t, Answer> answers;
  std::vector<StoreEvent> events;
  bool validating = true;
  std::function<void(std::uint64_t)> before_submit;  // given how many were before

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  static std::unique_ptr<std::byte, Free> allocate(std::uint32_t slabs) {
    const std::size_t size = std::size_t{slabs} * kSlabSize;
    return std::unique_ptr<std::byte, Free>(
        static_cast<std::byte*>(std::aligned_alloc(kPageSize, size)));
  }

  std::unique_ptr<std::byte, Free> memory_;
  StoreLimits limits_;
  std::uint64_t last_token_ = 0;
};

}  // namespace penstock
