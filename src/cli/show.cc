// penstock show: what a .torrent file or a magnet link says.
#include <algorithm>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/units.hh"
#include "cli/commands.hh"
#include "cli/program.hh"
#include "cli/torrent_file.hh"
#include "wire/magnet.hh"

namespace penstock::cli {
namespace {

using nlohmann::ordered_json;

// Lines of a label and a value, the labels in one column.
class Table {
 public:
  explicit Table(Console& console) : console_(console) {}
  // A second value of the same label has an empty one. Empty values make no line.
  void row(const std::string& label, const std::string& value) {
    if (value.empty()) return;
    constexpr std::size_t kWidth = 11;
    std::string padded = label;
    padded.resize(std::max(kWidth, label.size() + 1), ' ');
    console_.print(console_.paint_out(Paint::dim, padded) + printable(value) + "\n");
  }
  void rows(const std::string& label, const std::vector<std::string>& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
      row(i == 0 ? label : "", values[i]);
  }

 private:
  Console& console_;
};

std::string utc(std::int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  char text[64];
  if (::gmtime_r(&time, &parts) == nullptr ||
      std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0) {
    return std::to_string(seconds);
  }
  return text;
}

void add_hashes(ordered_json& fields, const std::optional<Sha1Digest>& v1,
                const std::optional<Sha256Digest>& v2) {
  if (v1) fields["info_hash_v1"] = v1->hex();
  if (v2) fields["info_hash_v2"] = v2->hex();
}

ordered_json file_as_json(const FileEntry& file) {
  ordered_json fields{{"event", "file"}, {"path", file.path}, {"bytes", file.length}};
  if (file.executable) fields["executable"] = true;
  if (file.hidden) fields["hidden"] = true;
  if (file.symlink) fields["symlink_target"] = file.symlink_target;
  if (!file.pieces_root.is_zero()) fields["pieces_root"] = file.pieces_root.hex();
  return fields;
}

void report_torrent(Report& report, const Metainfo& torrent) {
  for (const FileEntry& file : torrent.files) {
    if (!file.padding) report.event(file_as_json(file));
  }
  ordered_json fields{{"kind", "torrent"},
                      {"name", torrent.name},
                      {"format", format_of(torrent)},
                      {"single_file", torrent.single_file},
                      {"files", count_files(torrent)},
                      {"bytes", count_bytes(torrent)},
                      {"piece_size", torrent.blocks.piece_size},
                      {"pieces", torrent.blocks.piece_count()},
                      {"private", torrent.is_private},
                      {"trackers", torrent.tracker_tiers},
                      {"web_seeds", torrent.web_seeds},
                      {"magnet", format_magnet(magnet_of(torrent))}};
  add_hashes(fields, torrent.v1_hash, torrent.v2_hash);
  if (!torrent.comment.empty()) fields["comment"] = torrent.comment;
  if (!torrent.created_by.empty()) fields["created_by"] = torrent.created_by;
  if (!torrent.source.empty()) fields["source"] = torrent.source;
  if (torrent.creation_date != 0) fields["creation_date"] = torrent.creation_date;
  report.finish(ExitStatus::done, fields);
}

void print_torrent(Console& console, const Metainfo& torrent) {
  Table table(console);
  table.row("name", torrent.name);
  table.row("format", std::string(format_of(torrent)) + (torrent.is_private ? ", private" : ""));
  if (torrent.v1_hash) table.row("hash v1", torrent.v1_hash->hex());
  if (torrent.v2_hash) table.row("hash v2", torrent.v2_hash->hex());
  const std::size_t files = count_files(torrent);
  table.row("contents", std::to_string(files) + (files == 1 ? " file, " : " files, ") +
                            format_size(count_bytes(torrent)) + " in " +
                            std::to_string(torrent.blocks.piece_count()) + " pieces of " +
                            format_size(torrent.blocks.piece_size));
  std::vector<std::string> trackers;
  for (const auto& tier : torrent.tracker_tiers)
    trackers.insert(trackers.end(), tier.begin(), tier.end());
  table.rows("trackers", trackers);
  table.rows("web seeds", torrent.web_seeds);
  if (torrent.creation_date != 0) table.row("created", utc(torrent.creation_date));
  table.row("made by", torrent.created_by);
  table.row("source", torrent.source);
  table.row("comment", torrent.comment);
  table.row("magnet", format_magnet(magnet_of(torrent)));
  if (torrent.single_file) return;
  for (const FileEntry& file : torrent.files) {
    if (file.padding) continue;
    char size[16];
    std::snprintf(size, sizeof size, "%10s  ", format_size(file.length).c_str());
    const std::string link = file.symlink ? " -> " + file.symlink_target : "";
    console.print(console.paint_out(Paint::dim, size) + printable(file.path + link) + "\n");
  }
}

void report_magnet(Report& report, const Magnet& magnet) {
  ordered_json peers = ordered_json::array();
  for (const auto& [host, port] : magnet.peers)
    peers.push_back(host + ":" + std::to_string(port));
  ordered_json fields{{"kind", "magnet"},
                      {"name", magnet.name},
                      {"trackers", ordered_json::array()},
                      {"web_seeds", magnet.web_seeds},
                      {"peers", peers},
                      {"magnet", format_magnet(magnet)}};
  // As of a torrent: a list of tiers. A link has no tiers, so each is its own.
  for (const std::string& url : magnet.trackers)
    fields["trackers"].push_back(ordered_json::array({url}));
  add_hashes(fields, magnet.v1_hash, magnet.v2_hash);
  if (magnet.length) fields["bytes"] = *magnet.length;
  report.finish(ExitStatus::done, fields);
}

void print_magnet(Console& console, const Magnet& magnet) {
  Table table(console);
  table.row("name", magnet.name);
  if (magnet.v1_hash) table.row("hash v1", magnet.v1_hash->hex());
  if (magnet.v2_hash) table.row("hash v2", magnet.v2_hash->hex());
  if (magnet.length) table.row("contents", format_size(*magnet.length));
  table.rows("trackers", magnet.trackers);
  table.rows("web seeds", magnet.web_seeds);
  std::vector<std::string> peers;
  for (const auto& [host, port] : magnet.peers)
    peers.push_back(host + ":" + std::to_string(port));
  table.rows("peers", peers);
  table.row("magnet", format_magnet(magnet));
}

Result<ExitStatus> show(Context& context, const std::string& what) {
  if (what.starts_with("magnet:")) {
    auto magnet = parse_magnet(what);
    if (!magnet) return tl::unexpected(std::move(magnet.error()));
    if (context.report.enabled()) {
      report_magnet(context.report, *magnet);
    } else {
      print_magnet(context.console, *magnet);
    }
    return ExitStatus::done;
  }
  auto torrent = load_torrent_file(what);
  if (!torrent) return tl::unexpected(std::move(torrent.error()));
  if (context.report.enabled()) {
    report_torrent(context.report, *torrent);
  } else {
    print_torrent(context.console, *torrent);
  }
  return ExitStatus::done;
}

}  // namespace

void register_show(Program& program) {
  auto what = std::make_shared<std::string>();
  CLI::App& app = program.add_command("show", "Print what a torrent or a magnet link says",
                                      "Examples:\n"
                                      "  penstock show debian-12.iso.torrent\n"
                                      "  penstock show 'magnet:?xt=urn:btih:…' --json",
                                      [what](Context& context) { return show(context, *what); });
  app.add_option("TORRENT", *what, "A .torrent file or a magnet link")->required();
}

}  // namespace penstock::cli
