// penstock verify: is all of a torrent's data there, and right?
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/units.hh"
#include "cli/commands.hh"
#include "cli/cpu_list.hh"
#include "cli/data_place.hh"
#include "cli/program.hh"
#include "cli/torrent_file.hh"
#include "control/dataset/verify_pieces.hh"

namespace penstock::cli {
namespace {

using control::FileProblem;
using control::PieceVerdict;
using control::VerifyOutcome;
using nlohmann::ordered_json;

struct VerifyArguments {
  std::string torrent;
  std::string data = ".";
  unsigned jobs = 0;
  std::string cpus;
};

// In text for people, files of one run of pieces beyond this are counted, not named (each of them
// is named once more if it has a problem of its own; --json names them all).
constexpr std::size_t kFilesNamedMax = 5;

// Pieces that follow each other and have the same verdict.
struct Run {
  PieceVerdict verdict;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::vector<FileIndex> files;
};

std::vector<Run> bad_runs(const VerifyOutcome& outcome, const control::PieceLayout& layout) {
  std::vector<Run> runs;
  for (std::uint32_t i = 0; i < outcome.pieces.size(); ++i) {
    const PieceVerdict verdict = outcome.pieces[i];
    if (verdict != PieceVerdict::bad && verdict != PieceVerdict::unreadable) continue;
    const bool goes_on = !runs.empty() && runs.back().verdict == verdict &&
                         runs.back().first + runs.back().count == i;
    if (!goes_on) runs.push_back({verdict, i, 0, {}});
    Run& run = runs.back();
    ++run.count;
    for (const FileIndex file : control::files_of_piece(layout, PieceIndex(i))) {
      if (run.files.empty() || run.files.back() != file) run.files.push_back(file);
    }
  }
  return runs;
}

const char* word_for(FileProblem::Kind kind) {
  switch (kind) {
    case FileProblem::Kind::missing:
      return "missing";
    case FileProblem::Kind::too_short:
      return "too_short";
    case FileProblem::Kind::too_long:
      return "too_long";
    case FileProblem::Kind::unreadable:
      return "unreadable";
  }
  return "unreadable";
}

std::string describe(const FileProblem& problem, const FileEntry& file) {
  const std::string sizes =
      "has " + std::to_string(problem.size) + " of " + std::to_string(file.length) + " bytes";
  switch (problem.kind) {
    case FileProblem::Kind::missing:
      return "missing: " + control::describe_errno(problem.error);
    case FileProblem::Kind::too_short:
      return "too short: " + sizes;
    case FileProblem::Kind::too_long:
      return "longer than in the torrent: " + sizes;
    case FileProblem::Kind::unreadable:
      return control::describe_errno(problem.error);
  }
  return "";
}

class Printer {
 public:
  Printer(Context& context, const Metainfo& metainfo) : context_(context), metainfo_(metainfo) {}

  void file(const FileProblem& problem) {
    const FileEntry& entry = metainfo_.files[problem.file.value];
    const std::string path = control::path_below_data(metainfo_, entry);
    const char* word = word_for(problem.kind);
    context_.report.event({{"event", "file"},
                           {"path", path},
                           {"problem", word},
                           {"errno", problem.error},
                           {"bytes", problem.size},
                           {"bytes_wanted", entry.length}});
    if (context_.report.enabled()) return;
    const bool harmless = problem.kind == FileProblem::Kind::too_long;
    context_.console.print(
        context_.console.paint_out(harmless ? Paint::yellow : Paint::red, "file") + "   " +
        printable(path) + ": " + describe(problem, entry) + "\n");
  }

  void run(const Run& run) {
    const bool bad = run.verdict == PieceVerdict::bad;
    const std::uint32_t last = run.first + run.count - 1;
    ordered_json files = ordered_json::array();
    std::string names;
    for (std::size_t i = 0; i < run.files.size(); ++i) {
      const std::string path =
          control::path_below_data(metainfo_, metainfo_.files[run.files[i].value]);
      files.push_back(path);
      if (i < kFilesNamedMax) names += (i == 0 ? "" : ", ") + printable(path);
    }
    if (run.files.size() > kFilesNamedMax) {
      names += " and " + std::to_string(run.files.size() - kFilesNamedMax) + " more files";
    }
    context_.report.event({{"event", "pieces"},
                           {"verdict", bad ? "bad" : "unreadable"},
                           {"first", run.first},
                           {"count", run.count},
                           {"files", files}});
    if (context_.report.enabled()) return;
    std::string which = run.count == 1
                            ? "piece  " + std::to_string(run.first)
                            : "pieces " + std::to_string(run.first) + "-" + std::to_string(last);
    context_.console.print(context_.console.paint_out(Paint::red, which) + ": " +
                           (bad ? "wrong" : "can't be read") + ", in " + names + "\n");
  }

  void summary(const VerifyOutcome& outcome, ExitStatus status, double seconds) {
    const auto pieces = static_cast<std::uint32_t>(outcome.pieces.size());
    const std::uint32_t checked = outcome.good + outcome.bad + outcome.unreadable;
    const std::uint64_t bytes = count_bytes(metainfo_);
    // What can't be read takes no time.
    const double share = pieces == 0 ? 0 : static_cast<double>(outcome.good + outcome.bad) / pieces;
    const double rate =
        outcome.stopped ? 0.0 : share * static_cast<double>(bytes) / std::max(seconds, 1e-9);
    ordered_json fields{{"name", metainfo_.name},
                        {"format", format_of(metainfo_)},
                        {"files", count_files(metainfo_)},
                        {"bytes", bytes},
                        {"pieces", pieces},
                        {"pieces_good", outcome.good},
                        {"pieces_bad", outcome.bad},
                        {"pieces_unreadable", outcome.unreadable},
                        {"pieces_unchecked", pieces - checked},
                        {"seconds", seconds},
                        {"bytes_per_second", rate}};
    if (metainfo_.v1_hash) fields["info_hash_v1"] = metainfo_.v1_hash->hex();
    if (metainfo_.v2_hash) fields["info_hash_v2"] = metainfo_.v2_hash->hex();
    context_.report.finish(status, fields);
    if (context_.report.enabled()) return;
    Console& console = context_.console;
    if (outcome.stopped) {
      console.note("interrupted after " + std::to_string(checked) + " of " +
                   std::to_string(pieces) + " pieces");
      return;
    }
    const std::string counts = printable(metainfo_.name) + ": " + std::to_string(outcome.good) +
                               " of " + std::to_string(pieces) + " pieces are right (" +
                               format_size(bytes) + ", " + format_rate(rate) + ")\n";
    console.print(status == ExitStatus::done
                      ? console.paint_out(Paint::green, "complete ") + counts
                      : console.paint_out(Paint::red, "incomplete ") + counts);
  }

 private:
  Context& context_;
  const Metainfo& metainfo_;
};

ExitStatus status_of(const VerifyOutcome& outcome) {
  if (outcome.stopped) return ExitStatus::interrupted;
  if (outcome.complete()) return ExitStatus::done;
  return outcome.good > 0 ? ExitStatus::partial : ExitStatus::failed;
}

Result<ExitStatus> verify(Context& context, const VerifyArguments& arguments) {
  auto metainfo = load_torrent_file(arguments.torrent);
  if (!metainfo) return tl::unexpected(std::move(metainfo.error()));
  control::VerifyOptions options;
  options.jobs = arguments.jobs;
  auto cpus = parse_cpu_list(arguments.cpus);
  if (!cpus) return tl::unexpected(std::move(cpus.error()).context("--cpus"));
  options.cpus = std::move(*cpus);

  const control::PieceLayout layout(metainfo->files, metainfo->blocks);
  const Instant start = steady_now();
  Progress progress(context.console, "verifying", layout.total_bytes());
  auto outcome =
      control::verify_pieces(*metainfo, arguments.data, options, nullptr, [&](std::uint64_t bytes) {
        progress.update(bytes);
        return !context.interrupt.requested();
      });
  if (!outcome) return tl::unexpected(std::move(outcome.error()).context("--data"));
  const double seconds = (steady_now() - start).as_seconds();
  context.console.clear_status();

  const ExitStatus status = status_of(*outcome);
  Printer printer(context, *metainfo);
  for (const FileProblem& problem : outcome->files)
    printer.file(problem);
  for (const Run& run : bad_runs(*outcome, layout))
    printer.run(run);
  printer.summary(*outcome, status, seconds);
  if (status == ExitStatus::failed) {
    const std::string hint = data_hint(*metainfo, arguments.data);
    if (!hint.empty()) context.console.note(hint);
  }
  return status;
}

}  // namespace

void register_verify(Program& program) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App& app =
      program.add_command("verify", "Check data against its torrent",
                          "Exit status: 0 all of it is there and right, 3 some of it, 1 none.\n\n"
                          "Example:\n"
                          "  penstock verify debian-12.iso.torrent --data /srv/images",
                          [arguments](Context& context) { return verify(context, *arguments); });
  app.add_option("TORRENT", arguments->torrent, "The .torrent file")->required();
  app.add_option("-d,--data", arguments->data,
                 "Directory that contains the torrent's name (default: here)")
      ->type_name("DIR");
  app.add_option("-j,--jobs", arguments->jobs, "Hashing threads (default: one per CPU)")
      ->type_name("N")
      ->check(CLI::Range(1u, 1024u));
  app.add_option("--cpus", arguments->cpus, "CPUs to hash on, such as 0,2-3")->type_name("LIST");
}

}  // namespace penstock::cli
