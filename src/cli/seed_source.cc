#include "cli/seed_source.hh"

#include <filesystem>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/data_place.hh"
#include "cli/torrent_file.hh"
#include "control/config_keys.hh"
#include "control/dataset/make_torrent.hh"
#include "control/dataset/scan_tree.hh"
#include "crypto/sha.hh"

namespace penstock::cli {
namespace {

namespace fs = std::filesystem;

// Characters of a digest that name a directory: 64 bits.
constexpr std::size_t kKeyDigits = 16;
constexpr std::size_t kFactsMax = 1024;

std::string digest_of(std::string_view text) {
  return sha1(std::as_bytes(std::span(text.data(), text.size()))).hex();
}

bool looks_like_torrent(const std::string& path) {
  std::error_code error;
  return fs::path(path).extension() == ".torrent" && !fs::is_directory(path, error);
}

Result<SeedSource> open_torrent(Context& context, const std::string& path,
                                const std::string& data) {
  auto metainfo = load_torrent_file(path);
  if (!metainfo) return tl::unexpected(std::move(metainfo).error());
  SeedSource source;
  source.metainfo = std::make_shared<const Metainfo>(std::move(*metainfo));
  source.data = data.empty() ? fs::absolute(path).parent_path().string() : data;
  const auto place = look_for_data(*source.metainfo, source.data);
  if (!place) return tl::unexpected(place.error());
  source.files_lacking = place->lacking;
  const std::string where = "\"" + source.data + "\"";
  if (place->lacking == place->files) {
    const std::string hint = data_hint(*source.metainfo, source.data);
    return fail("\"" + path + "\": none of its files is in " + where + ", not even \"" +
                    place->first_lacking + "\": " +
                    (hint.empty() ? "give --data the directory that contains \"" +
                                        source.metainfo->name + "\""
                                  : hint),
                ErrorKind::not_found);
  }
  if (place->lacking > 0) {
    context.console.warn("\"" + path + "\": " + std::to_string(place->lacking) + " of " +
                         std::to_string(place->files) + " files are missing or too short in " +
                         where + ", \"" + place->first_lacking +
                         "\" for one: their pieces can't be served until they are there");
  }
  return source;
}

// Changes whenever a file is written, replaced or renamed, or one comes or goes: as far as sizes,
// times and names tell.
std::string facts_of(const control::ScannedTree& tree) {
  std::string all;
  for (const control::ScannedFile& file : tree.files) {
    all += file.path;
    for (const auto number : {static_cast<std::int64_t>(file.length), file.mtime_ns, file.ctime_ns})
      all += '\0' + std::to_string(number);
    all += '\0';
  }
  return digest_of(all);
}

// The torrent that an earlier run made of the path, and what the files were then.
class KeptTorrent {
 public:
  // By where the data is, not by its name alone: "data" is a common name.
  KeptTorrent(const std::string& state, const fs::path& source, const std::string& name)
      : folder_(fs::path(state) / "made" / digest_of(source.string()).substr(0, kKeyDigits)),
        torrent_(folder_ / (name + ".torrent")),
        facts_(folder_ / (name + ".facts")) {}

  [[nodiscard]] std::string path() const { return torrent_.string(); }

  // nullopt: there is none, or it isn't what the files are now.
  [[nodiscard]] std::optional<Metainfo> load(const std::string& facts) const {
    const auto kept = read_file(facts_.string(), kFactsMax);
    if (!kept) return std::nullopt;
    auto metainfo = load_torrent_file(path());
    if (!metainfo) return std::nullopt;
    const std::string wanted = line(facts, *metainfo);
    const auto bytes = std::as_bytes(std::span(wanted.data(), wanted.size()));
    if (!std::equal(kept->begin(), kept->end(), bytes.begin(), bytes.end())) return std::nullopt;
    return std::move(*metainfo);
  }

  Result<void> keep(const control::MadeTorrent& made, const std::string& facts) const {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) return fail("\"" + folder_.string() + "\": " + error.message(), ErrorKind::io);
    if (auto written = write_file(path(), made.file, true); !written) return written;
    const std::string text = line(facts, made.metainfo);
    return write_file(facts_.string(), std::as_bytes(std::span(text.data(), text.size())), true);
  }

 private:
  // Names the torrent, so that one written by a run that ended before its facts were isn't taken.
  static std::string line(const std::string& facts, const Metainfo& metainfo) {
    return facts + " " + metainfo.wire_hash().hex() + "\n";
  }

  fs::path folder_, torrent_, facts_;
};

Result<std::optional<SeedSource>> make_from_path(Context& context, const std::string& path,
                                                 const std::string& state) {
  auto tree = control::scan_tree(path);
  if (!tree) return tl::unexpected(std::move(tree).error());
  fs::path place = fs::absolute(path).lexically_normal();
  if (place.filename().empty()) place = place.parent_path();
  SeedSource source;
  source.data = place.parent_path().string();
  std::error_code error;
  const fs::path real = fs::canonical(place, error);
  const KeptTorrent kept(state, error ? place : real, tree->name);
  const std::string facts = facts_of(*tree);
  if (auto known = kept.load(facts)) {
    context.console.note("torrent " + kept.path() + " (from an earlier run)");
    source.metainfo = std::make_shared<const Metainfo>(std::move(*known));
    return source;
  }
  Progress progress(context.console, "hashing", tree->total_bytes);
  auto made = control::make_torrent(*tree, {}, [&](std::uint64_t bytes) {
    progress.update(bytes);
    return !context.interrupt.requested();
  });
  context.console.clear_status();
  if (!made) return tl::unexpected(std::move(made).error());
  if (made->stopped) {
    context.console.note("interrupted while hashing: nothing is served");
    return std::nullopt;
  }
  if (auto written = kept.keep(*made, facts); !written) {
    return tl::unexpected(std::move(written).error().context("--state"));
  }
  context.console.note("torrent " + kept.path());
  source.metainfo = std::make_shared<const Metainfo>(std::move(made->metainfo));
  return source;
}

}  // namespace

Result<std::string> open_state_directory(const std::string& given) {
  std::string path = given;
  if (path.empty()) {
    auto known = control::default_state_directory();
    if (!known) return fail(known.error().message + ", or --state DIRECTORY", ErrorKind::usage);
    path = std::move(*known);
  }
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return fail("state directory " + path + ": " + error.message() +
                ": name a writable one with --state");
  }
  return path;
}

Result<std::optional<SeedSource>> open_source(Context& context, const std::string& path,
                                              const std::string& data, const std::string& state) {
  if (!looks_like_torrent(path)) return make_from_path(context, path, state);
  auto source = open_torrent(context, path, data);
  if (!source) return tl::unexpected(std::move(source).error());
  return std::optional(std::move(*source));
}

}  // namespace penstock::cli
