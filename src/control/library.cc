#include "control/library.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.hh"
#include "control/engine_view.hh"
#include "crypto/metainfo_identity.hh"

namespace penstock::control {
namespace {

// Events come in bursts: one look for all that arrive within this time.
constexpr Duration kDebounce = Duration::milliseconds(50);
constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM |
                                  IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF;

std::string error_text(int error) {
  return std::error_code(error, std::generic_category()).message();
}

bool is_torrent_name(std::string_view name) {
  return name.ends_with(".torrent") && !name.starts_with('.') && name != ".torrent";
}

Result<std::vector<FolderFile>> list_folder(const std::string& directory) {
  DIR* stream = opendir(directory.c_str());
  if (stream == nullptr) return fail(error_text(errno), ErrorKind::io);
  std::vector<FolderFile> files;
  while (const dirent* item = readdir(stream)) {
    if (!is_torrent_name(item->d_name)) continue;
    struct stat facts {};
    if (fstatat(dirfd(stream), item->d_name, &facts, 0) != 0 || !S_ISREG(facts.st_mode)) continue;
    files.push_back({item->d_name, static_cast<std::uint64_t>(facts.st_size),
                     facts.st_mtim.tv_sec * 1'000'000'000 + facts.st_mtim.tv_nsec, facts.st_ino});
  }
  closedir(stream);
  std::sort(files.begin(), files.end(),
            [](const FolderFile& a, const FolderFile& b) { return a.name < b.name; });
  return files;
}

Result<std::vector<std::byte>> read_file(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return fail(error_text(errno), ErrorKind::io);
  struct stat facts {};
  const bool known = fstat(file, &facts) == 0 && S_ISREG(facts.st_mode);
  const std::size_t limit = MetainfoLimits{}.bytes_max;
  std::vector<std::byte> bytes;
  if (known && static_cast<std::uint64_t>(facts.st_size) <= limit) {
    bytes.resize(static_cast<std::size_t>(facts.st_size));
  } else {
    close(file);
    return fail(known ? "too large for a .torrent file" : "not a file");
  }
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = read(file, bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    filled += static_cast<std::size_t>(got);
  }
  close(file);
  bytes.resize(filled);
  return bytes;
}

TorrentInfo describe_torrent(const Metainfo& metainfo) {
  TorrentInfo info;
  info.name = metainfo.name;
  if (metainfo.v1_hash) info.v1_hash = metainfo.v1_hash->hex();
  if (metainfo.v2_hash) info.v2_hash = metainfo.v2_hash->hex();
  info.wire_hash = metainfo.wire_hash();
  if (metainfo.v1_hash) info.swarms.push_back(*metainfo.v1_hash);
  if (metainfo.v2_hash) info.swarms.push_back(truncate(*metainfo.v2_hash));
  for (const FileEntry& file : metainfo.files)
    info.size += file.padding ? 0 : file.length;
  info.pieces = metainfo.blocks.piece_count();
  info.is_private = metainfo.is_private;
  return info;
}

Result<void> make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail("making " + path + ": " + error.message(), ErrorKind::io);
  return {};
}

}  // namespace

struct Library::Folder {
  WatchConfig config;
  FolderState state;
  int watch = -1;               // inotify's descriptor; -1: blind
  bool changed = true;          // look at it
  Instant look_at{};            // at the latest
  bool unreadable = false;      // and that was said
  bool engine_refused = false;  // something: worth another try at the next rescan
};

struct Library::Request {
  std::vector<WatchConfig> watches;
};

Library::Library(EngineApi& engine, LibraryListener& listener)
    : engine_(engine), listener_(listener) {
  inotify_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify_ < 0) {
    spdlog::warn("inotify is not to be had ({}): watched folders are looked at every second",
                 error_text(errno));
  }
  wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ASSERT(wake_ >= 0);
  thread_ = std::thread([this] { run(); });
}

Library::~Library() {
  stopping_ = true;
  eventfd_write(wake_, 1);
  thread_.join();
  if (inotify_ >= 0) close(inotify_);
  close(wake_);
}

Result<void> Library::apply(const std::vector<PoolConfig>& pools,
                            const std::vector<WatchConfig>& watches) {
  std::map<std::string, PoolIndex> opened;
  for (const PoolConfig& pool : pools) {
    if (pool.create) {
      if (auto made = make_directory(pool.path); !made) return made;
    }
    auto index = engine_.open_pool(pool.path);
    if (!index) return tl::unexpected(index.error().context("pool \"" + pool.name + "\""));
    opened[pool.name] = *index;
  }
  for (const WatchConfig& watch : watches) {
    ASSERT(opened.contains(watch.pool));  // the configuration was checked
    if (watch.create) {
      if (auto made = make_directory(watch.directory); !made) return made;
    }
    struct stat facts {};
    if (stat(watch.directory.c_str(), &facts) != 0) {
      return fail("watched folder " + watch.directory + ": " + error_text(errno), ErrorKind::io);
    }
    if (!S_ISDIR(facts.st_mode)) {
      return fail("watched folder " + watch.directory + ": not a directory", ErrorKind::io);
    }
  }
  {
    const std::lock_guard lock(mutex_);
    pools_ = std::move(opened);
    request_ = std::make_unique<Request>(Request{watches});
    settled_ = false;
  }
  eventfd_write(wake_, 1);
  return {};
}

std::vector<TorrentInfo> Library::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<TorrentInfo> all;
  all.reserve(torrents_.size());
  for (const auto& [file, info] : torrents_)
    all.push_back(info);
  return all;
}

std::size_t Library::torrent_count() const {
  const std::lock_guard lock(mutex_);
  return torrents_.size();
}

// New folders come, old ones go, changed ones (another pool, another way to verify) begin anew. A
// limit is simply set.
void Library::take_request() {
  std::unique_ptr<Request> request;
  {
    const std::lock_guard lock(mutex_);
    request = std::move(request_);
  }
  if (!request) return;
  std::map<std::string, std::unique_ptr<Folder>> next;
  for (const WatchConfig& watch : request->watches) {
    auto& folder = next[watch.directory];
    const auto known = folders_.find(watch.directory);
    if (known != folders_.end() && known->second->config.pool == watch.pool &&
        known->second->config.verify == watch.verify) {
      folder = std::move(known->second);
      folders_.erase(known);
      if (folder->config.upload_per_torrent != watch.upload_per_torrent) set_rate(watch);
    } else {
      folder = std::make_unique<Folder>();
    }
    folder->config = watch;
  }
  for (auto& [directory, folder] : folders_) {
    std::vector<FolderState::Action> actions;
    folder->state.on_listing(monotonic_now(), {}, actions);
    act(*folder, actions);
    if (folder->watch >= 0 && !next.contains(directory)) inotify_rm_watch(inotify_, folder->watch);
  }
  folders_ = std::move(next);
}

// Of the torrents that the folder has already.
void Library::set_rate(const WatchConfig& watch) {
  std::vector<TorrentId> ids;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [file, info] : torrents_) {
      if (std::filesystem::path(file).parent_path() != watch.directory) continue;
      info.upload_rate = watch.upload_per_torrent;
      ids.push_back(info.id);
    }
  }
  for (const TorrentId id : ids) {
    if (auto set = engine_.set_torrent_rate(id, watch.upload_per_torrent); !set) {
      spdlog::warn("setting a torrent's limit: {}", set.error().message);
    }
  }
}

void Library::run() {
  while (!stopping_) {
    take_request();
    const Instant now = monotonic_now();
    for (auto& [directory, folder] : folders_) {
      if (folder->changed || folder->look_at <= now) look(*folder);
      std::vector<FolderState::Action> retries;
      folder->state.on_timeout(monotonic_now(), retries);
      act(*folder, retries);
      if (stopping_) return;
    }
    count_broken();
    {
      const std::lock_guard lock(mutex_);
      if (!request_) settled_ = true;
    }
    sleep(next_timeout());
  }
}

void Library::look(Folder& folder) {
  folder.changed = false;
  if (folder.watch < 0 && inotify_ >= 0) {
    folder.watch = inotify_add_watch(inotify_, folder.config.directory.c_str(), kEvents);
  }
  const Instant now = monotonic_now();
  folder.look_at = now + (folder.watch < 0 ? kRescanBlind : kRescan);
  const auto files = list_folder(folder.config.directory);
  if (!files) {
    // An unmounted disk must not make the trackers forget a thousand torrents.
    if (!folder.unreadable) {
      spdlog::error("watched folder {}: {}; what was served from it stays", folder.config.directory,
                    files.error().message);
    }
    folder.unreadable = true;
    return;
  }
  folder.unreadable = false;
  if (folder.engine_refused) {
    folder.engine_refused = false;
    folder.state.retry_failed(now);
  }
  std::vector<FolderState::Action> actions;
  folder.state.on_listing(now, *files, actions);
  act(folder, actions);
}

void Library::act(Folder& folder, const std::vector<FolderState::Action>& actions) {
  for (const FolderState::Action& action : actions) {
    if (stopping_) return;
    if (action.kind == FolderState::Action::Kind::unload) {
      unload(folder, action.name);
      continue;
    }
    const auto loaded = load(folder, action.name);
    if (loaded) {
      folder.state.on_loaded(action.name);
    } else if (folder.state.on_failed(monotonic_now(), action.name)) {
      spdlog::error("{}/{}: {}; looked at again when it changes", folder.config.directory,
                    action.name, loaded.error().message);
    }
  }
}

Result<void> Library::load(Folder& folder, const std::string& name) {
  const std::string file = folder.config.directory + "/" + name;
  const auto bytes = read_file(file);
  if (!bytes) return tl::unexpected(bytes.error());
  auto parsed = load_metainfo(*bytes);
  if (!parsed) return tl::unexpected(parsed.error());
  const auto metainfo = std::make_shared<const Metainfo>(std::move(*parsed));
  TorrentInfo info = describe_torrent(*metainfo);
  info.file = file;
  info.pool = folder.config.pool;
  info.upload_rate = folder.config.upload_per_torrent;

  const auto other = file_of_.find(info.wire_hash);
  if (other != file_of_.end() && other->second != file) {
    folder.engine_refused = true;
    return fail("the torrent is served already, from " + other->second);
  }
  if (other != file_of_.end()) return {};  // the same torrent, written again
  remove_torrent(file);                    // the file had another one

  PoolIndex pool;
  {
    const std::lock_guard lock(mutex_);
    pool = pools_.at(folder.config.pool);
  }
  auto id = engine_.add_torrent({metainfo, pool, folder.config.verify, info.upload_rate});
  if (!id) {
    folder.engine_refused = true;
    return tl::unexpected(id.error());
  }
  info.id = *id;
  file_of_[info.wire_hash] = file;
  {
    const std::lock_guard lock(mutex_);
    torrents_[file] = info;
  }
  spdlog::debug("serving {} ({})", info.name, file);
  listener_.on_added(info, *metainfo);
  return {};
}

void Library::unload(Folder& folder, const std::string& name) {
  const std::string file = folder.config.directory + "/" + name;
  remove_torrent(file);
  // Another file may have the same torrent.
  for (auto& [directory, other] : folders_) {
    if (other && other->engine_refused) other->look_at = Instant{};
  }
}

void Library::remove_torrent(const std::string& file) {
  TorrentInfo info;
  {
    const std::lock_guard lock(mutex_);
    const auto known = torrents_.find(file);
    if (known == torrents_.end()) return;
    info = std::move(known->second);
    torrents_.erase(known);
  }
  file_of_.erase(info.wire_hash);
  if (auto removed = engine_.remove_torrent(info.id); !removed) {
    spdlog::warn("removing {}: {}", info.name, removed.error().message);
  }
  spdlog::debug("no longer serving {} ({})", info.name, file);
  listener_.on_removed(info);
}

void Library::count_broken() {
  std::uint64_t broken = 0;
  for (const auto& [directory, folder] : folders_)
    broken += folder->state.broken_count();
  broken_ = broken;
}

Instant Library::next_timeout() const {
  Instant next = Instant::never();
  for (const auto& [directory, folder] : folders_) {
    next = earlier(next, folder->look_at);
    next = earlier(next, folder->state.next_timeout());
  }
  return next;
}

void Library::drain_inotify() {
  alignas(inotify_event) char buffer[16 * 1024];
  for (;;) {
    const ssize_t got = read(inotify_, buffer, sizeof buffer);
    if (got <= 0) return;
    for (ssize_t at = 0; at < got;) {
      inotify_event event{};
      std::memcpy(&event, buffer + at, sizeof event);
      at += static_cast<ssize_t>(sizeof event + event.len);
      for (auto& [directory, folder] : folders_) {
        const bool lost = (event.mask & IN_Q_OVERFLOW) != 0;
        if (!lost && folder->watch != event.wd) continue;
        folder->changed = true;
        // The directory itself went away or was moved: watch what has its name now.
        if ((event.mask & (IN_IGNORED | IN_MOVE_SELF)) != 0) {
          if ((event.mask & IN_IGNORED) == 0) inotify_rm_watch(inotify_, folder->watch);
          folder->watch = -1;
        }
      }
    }
  }
}

void Library::sleep(Instant until) {
  pollfd waits[2] = {{wake_, POLLIN, 0}, {inotify_, POLLIN, 0}};
  const nfds_t count = inotify_ >= 0 ? 2 : 1;
  int timeout_ms = -1;
  if (until != Instant::never()) {
    const std::int64_t ns = std::max<std::int64_t>(0, (until - monotonic_now()).ns);
    timeout_ms = static_cast<int>(std::min<std::int64_t>(ns / 1'000'000 + 1, 60'000));
  }
  poll(waits, count, timeout_ms);
  if (waits[0].revents != 0) {
    eventfd_t value = 0;
    eventfd_read(wake_, &value);
  }
  if (count == 2 && waits[1].revents != 0 && !stopping_) {
    pollfd stop{wake_, POLLIN, 0};
    poll(&stop, 1, static_cast<int>(kDebounce.ns / 1'000'000));
    drain_inotify();
  }
}

}  // namespace penstock::control
