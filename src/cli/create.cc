// penstock create: a .torrent from a file or directory.
#include <algorithm>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/units.hh"
#include "cli/commands.hh"
#include "cli/cpu_list.hh"
#include "cli/program.hh"
#include "cli/torrent_file.hh"
#include "control/dataset/make_torrent.hh"
#include "wire/magnet.hh"

namespace penstock::cli {
namespace {

namespace fs = std::filesystem;
using control::TorrentFormat;

struct CreateOptions {
  std::string path;
  std::string output;
  bool v1 = false;
  bool v2 = false;
  bool hybrid = false;
  std::string piece_size;
  std::vector<std::string> trackers;
  std::vector<std::string> web_seeds;
  bool is_private = false;
  std::string comment;
  bool date = false;
  bool force = false;
  unsigned jobs = 0;
  std::string cpus;
};

Result<control::MakeTorrentOptions> checked(const CreateOptions& options) {
  control::MakeTorrentOptions make;
  if (options.v2) make.format = TorrentFormat::v2;
  if (options.hybrid) make.format = TorrentFormat::hybrid;
  if (!options.piece_size.empty()) {
    const auto size = parse_size(options.piece_size);
    if (!size) return tl::unexpected(size.error().context("--piece-size"));
    if (*size == 0) return fail("--piece-size: must not be zero", ErrorKind::usage);
    make.piece_size = *size;
  }
  make.trackers = options.trackers;
  make.web_seeds = options.web_seeds;
  make.is_private = options.is_private;
  make.comment = options.comment;
  if (options.date) make.creation_date = static_cast<std::int64_t>(std::time(nullptr));
  make.jobs = options.jobs;
  auto cpus = parse_cpu_list(options.cpus);
  if (!cpus) return tl::unexpected(std::move(cpus.error()).context("--cpus"));
  make.cpus = std::move(*cpus);
  if (auto ok = control::check_options(make); !ok) return tl::unexpected(std::move(ok.error()));
  return make;
}

// A torrent inside of what it lists would be listed the next time.
bool lies_inside(const std::string& output, const control::ScannedTree& tree,
                 const std::string& path) {
  if (tree.single_file) return false;
  std::error_code error;
  const fs::path root = fs::canonical(path, error);
  const fs::path folder = fs::weakly_canonical(fs::absolute(output, error).parent_path(), error);
  const fs::path relative = folder.lexically_relative(root);
  return !relative.empty() && *relative.begin() != "..";
}

Result<void> check_output(const std::string& output, bool force) {
  std::error_code error;
  const fs::file_status status = fs::status(output, error);
  if (fs::is_directory(status)) {
    return fail("\"" + output + "\": is a directory: give -o a file's name", ErrorKind::usage);
  }
  if (fs::exists(status) && !force) {
    return fail("\"" + output + "\": exists already: use --force to replace it", ErrorKind::usage);
  }
  const fs::path folder = fs::absolute(output, error).parent_path();
  if (::access(folder.c_str(), W_OK) != 0) {
    return fail("\"" + folder.string() + "\": can't be written to: choose another place with -o",
                ErrorKind::io);
  }
  return {};
}

void report_result(Context& context, const Metainfo& metainfo, const std::string& output,
                   double seconds) {
  const std::uint64_t bytes = count_bytes(metainfo);
  const double rate = static_cast<double>(bytes) / std::max(seconds, 1e-9);
  const std::string magnet = format_magnet(magnet_of(metainfo));
  nlohmann::ordered_json fields{
      {"torrent", output},
      {"name", metainfo.name},
      {"format", format_of(metainfo)},
      {"files", count_files(metainfo)},
      {"bytes", bytes},
      {"piece_size", metainfo.blocks.piece_size},
      {"pieces", metainfo.blocks.piece_count()},
      {"private", metainfo.is_private},
      {"magnet", magnet},
      {"seconds", seconds},
      {"bytes_per_second", rate},
  };
  if (metainfo.v1_hash) fields["info_hash_v1"] = metainfo.v1_hash->hex();
  if (metainfo.v2_hash) fields["info_hash_v2"] = metainfo.v2_hash->hex();
  context.report.finish(ExitStatus::done, fields);
  if (context.report.enabled()) return;

  Console& console = context.console;
  const auto label = [&](const char* text) { return console.paint_out(Paint::dim, text); };
  const std::size_t files = count_files(metainfo);
  std::string text = label("torrent  ") + console.paint_out(Paint::bold, printable(output)) + "\n";
  text += label("contents ") + printable(metainfo.name) + ": " + std::to_string(files) +
          (files == 1 ? " file, " : " files, ") + format_size(bytes) + " in " +
          std::to_string(metainfo.blocks.piece_count()) + " pieces of " +
          format_size(metainfo.blocks.piece_size) + " (" + format_of(metainfo) + ")\n";
  if (metainfo.v1_hash) text += label("hash v1  ") + metainfo.v1_hash->hex() + "\n";
  if (metainfo.v2_hash) text += label("hash v2  ") + metainfo.v2_hash->hex() + "\n";
  text += label("magnet   ") + magnet + "\n";
  text += label("hashed   ") + std::string("at ") + format_rate(rate) + "\n";
  console.print(text);
}

Result<ExitStatus> create(Context& context, const CreateOptions& options) {
  auto make = checked(options);
  if (!make) return tl::unexpected(std::move(make.error()));
  auto tree = control::scan_tree(options.path);
  if (!tree) return tl::unexpected(std::move(tree.error()));
  const std::string output = options.output.empty() ? tree->name + ".torrent" : options.output;
  if (lies_inside(output, *tree, options.path)) {
    return fail("\"" + output + "\" would lie inside of what it lists: choose a place outside \"" +
                    options.path + "\" with -o",
                ErrorKind::usage);
  }
  if (auto ok = check_output(output, options.force); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  for (const std::string& empty : tree->empty_directories) {
    context.console.warn("\"" + empty + "\": an empty directory, which no torrent can hold");
  }

  const Instant start = steady_now();
  Progress progress(context.console, "hashing", tree->total_bytes);
  auto made = control::make_torrent(*tree, *make, [&](std::uint64_t bytes) {
    progress.update(bytes);
    return !context.interrupt.requested();
  });
  if (!made) return tl::unexpected(std::move(made.error()));
  context.console.clear_status();
  if (made->stopped) {
    context.console.note("interrupted: nothing was written");
    return ExitStatus::interrupted;
  }
  const double seconds = (steady_now() - start).as_seconds();
  if (auto ok = write_file(output, made->file, options.force); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  if (made->metainfo.single_file && !tree->single_file) {
    context.console.warn(
        "in a v2 torrent a directory with one file is just that file: seed it with "
        "--data \"" +
        options.path + "\", or use --hybrid to keep the directory");
  }
  report_result(context, made->metainfo, output, seconds);
  return ExitStatus::done;
}

}  // namespace

void register_create(Program& program) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App& app = program.add_command(
      "create", "Make a .torrent from a file or directory",
      "The same data gives the same torrent: no date is written unless --date asks for it.\n"
      "Symbolic links are followed inside PATH; one that leads out of it is an error.\n\n"
      "Examples:\n"
      "  penstock create debian-12.iso --tracker udp://tracker.example:6969/announce\n"
      "  penstock create dataset/ --hybrid -o dataset.torrent --web-seed https://example.org/",
      [options](Context& context) { return create(context, *options); });
  app.add_option("PATH", options->path, "What to share")->required();
  app.add_option("-o,--output", options->output, "The torrent (default: NAME.torrent, here)")
      ->type_name("FILE");
  auto* v1 = app.add_flag("--v1", options->v1, "For every client (default)");
  auto* v2 = app.add_flag("--v2", options->v2, "For clients that know BitTorrent v2 only");
  auto* hybrid =
      app.add_flag("--hybrid", options->hybrid, "For both; files are padded to whole pieces");
  v1->excludes(v2)->excludes(hybrid);
  v2->excludes(hybrid);
  app.add_option("--piece-size", options->piece_size,
                 "Power of two from 16KiB (default: about 1,000 to 2,000 pieces, at most 16MiB)")
      ->type_name("SIZE");
  app.add_option("-t,--tracker", options->trackers, "Announce URL; once per tracker")
      ->type_name("URL")
      ->allow_extra_args(false);
  app.add_option("-w,--web-seed", options->web_seeds, "URL that serves the same files over HTTP")
      ->type_name("URL")
      ->allow_extra_args(false);
  app.add_flag("--private", options->is_private, "Peers from the tracker only: no DHT, no PEX");
  app.add_option("--comment", options->comment, "For people")->type_name("TEXT");
  app.add_flag("--date", options->date, "Write the creation date");
  app.add_flag("-f,--force", options->force, "Replace an existing torrent");
  app.add_option("-j,--jobs", options->jobs, "Hashing threads (default: one per CPU)")
      ->type_name("N")
      ->check(CLI::Range(1u, 1024u));
  app.add_option("--cpus", options->cpus, "CPUs to hash on, such as 0,2-3")->type_name("LIST");
}

}  // namespace penstock::cli
