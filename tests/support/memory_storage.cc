#include "support/memory_storage.hh"

#include <algorithm>
#include <cstring>

#include <sys/mman.h>

#include "base/assert.hh"

namespace penstock::support {

void MemoryDisk::touch(File& file) {
  file.facts.size = file.content.size();
  file.facts.mtime_ns = next_mtime_ns_++;
}

void MemoryDisk::put(const std::string& path, std::vector<std::byte> content) {
  auto file = std::make_shared<File>();
  file->content = std::move(content);
  file->facts.inode = next_inode_++;
  file->facts.device = 7;
  touch(*file);
  files_[path] = std::move(file);
  for (std::size_t slash = path.find('/'); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    directories_.insert(path.substr(0, slash));
  }
}

void MemoryDisk::append(const std::string& path, const std::vector<std::byte>& content) {
  File& file = *files_.at(path);
  file.content.insert(file.content.end(), content.begin(), content.end());
  touch(file);
}

void MemoryDisk::truncate(const std::string& path, std::uint64_t size) {
  File& file = *files_.at(path);
  file.content.resize(size);
  touch(file);
}

void MemoryDisk::remove(const std::string& path) {
  ASSERT(files_.erase(path) == 1);
}

void MemoryDisk::make_directory(const std::string& path) {
  directories_.insert(path);
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos) make_directory(path.substr(0, slash));
}

void MemoryDisk::flip(const std::string& path, std::uint64_t offset) {
  files_.at(path)->content.at(offset) ^= std::byte{0x40};
}

void MemoryDisk::overwrite(const std::string& path, std::uint64_t offset,
                           const std::vector<std::byte>& content) {
  File& file = *files_.at(path);
  ASSERT(offset + content.size() <= file.content.size());
  std::copy(content.begin(), content.end(),
            file.content.begin() + static_cast<std::ptrdiff_t>(offset));
  touch(file);
}

IoError MemoryDisk::find(const std::string& path, std::shared_ptr<File>& out) const {
  const auto it = files_.find(path);
  if (it != files_.end()) {
    out = it->second;
    return IoError::none;
  }
  // "..", absolute and over-long paths name nothing here, which is what the contract wants.
  return directories_.contains(path) ? IoError::not_a_file : IoError::not_found;
}

bool MemoryStorage::try_submit(const StorageOp& op) {
  if (flights_.size() >= options_.ops_max) return false;
  const auto spread =
      static_cast<std::uint64_t>((options_.latency_max - options_.latency_min).ns + 1);
  const Duration latency =
      options_.latency_min + Duration{static_cast<std::int64_t>(random_.below(spread))};
  if (op.kind == StorageOp::Kind::read) {
    const auto it = open_.find(op.file);
    if (it != open_.end() && !it->second.closing) ++it->second.reads;
    ASSERT(op.offset % kPageSize == 0 && op.segment_count > 0);
  }
  if (op.kind == StorageOp::Kind::close) {
    const auto it = open_.find(op.file);
    if (it != open_.end()) it->second.closing = true;
  }
  flights_.push({clock_.time() + latency, sequence_++, op});
  return true;
}

std::size_t MemoryStorage::poll_completions(std::span<StorageCompletion> out) {
  std::size_t count = 0;
  while (count < out.size() && !flights_.empty() && flights_.top().due <= clock_.time()) {
    Flight flight = flights_.top();
    flights_.pop();
    const auto it = open_.find(flight.op.file);
    if (flight.op.kind == StorageOp::Kind::close && it != open_.end() && it->second.reads > 0) {
      flight.due = clock_.time() + Duration::microseconds(10);  // waits for the reads
      flights_.push(flight);
      continue;
    }
    out[count++] = execute(flight.op);
  }
  return count;
}

StorageCompletion MemoryStorage::execute(const StorageOp& op) {
  StorageCompletion out{.kind = op.kind, .token = op.token};
  switch (op.kind) {
    case StorageOp::Kind::open:
    case StorageOp::Kind::check: {
      std::shared_ptr<MemoryDisk::File> file;
      out.error = op.pool.value < pools_.size() ? pools_[op.pool.value]->find(op.path, file)
                                                : IoError::not_found;
      if (out.error != IoError::none) return out;
      out.facts = file->facts;
      out.facts.direct = options_.direct;
      if (op.kind == StorageOp::Kind::check) return out;
      if (open_.size() >= options_.files_max) {
        out.error = IoError::exhausted;
        return out;
      }
      out.file = FileHandle(next_handle_++);
      open_[out.file].file = std::move(file);
      return out;
    }
    case StorageOp::Kind::read:
      read(op, out);
      return out;
    case StorageOp::Kind::close:
      out.error = open_.erase(op.file) == 1 ? IoError::none : IoError::stale;
      return out;
    case StorageOp::Kind::renew:
      for (std::size_t i = 0; i < op.segment_count; ++i) {
        const StorageOp::Segment& segment = op.segments[i];
        if (options_.ledger != nullptr) options_.ledger->renew(segment.data, segment.length);
        if (::madvise(segment.data, segment.length, MADV_DONTNEED) != 0) {
          std::memset(segment.data, 0, segment.length);
        }
      }
      return out;
  }
  UNREACHABLE();
}

void MemoryStorage::read(const StorageOp& op, StorageCompletion& out) {
  const auto it = open_.find(op.file);
  if (it == open_.end() || it->second.reads == 0) {
    out.error = IoError::stale;
    return;
  }
  --it->second.reads;
  ++reads_;
  const std::vector<std::byte>& content = it->second.file->content;
  std::uint64_t at = op.offset;
  for (std::size_t i = 0; i < op.segment_count; ++i) {
    const StorageOp::Segment& segment = op.segments[i];
    if (options_.ledger != nullptr) {
      if (segment.renew) options_.ledger->renew(segment.data, segment.length);
      options_.ledger->write(segment.data, segment.length);
    }
    if (segment.renew) ::madvise(segment.data, segment.length, MADV_DONTNEED);
    const std::uint64_t there = at >= content.size() ? 0 : content.size() - at;
    const std::uint64_t n = std::min<std::uint64_t>(there, segment.length);
    if (n > 0) std::memcpy(segment.data, content.data() + at, n);
    at += n;
    out.bytes += static_cast<std::uint32_t>(n);
    if (n < segment.length) break;
  }
  bytes_read_ += out.bytes;
}

}  // namespace penstock::support
