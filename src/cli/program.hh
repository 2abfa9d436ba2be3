// The frame every subcommand plugs into: the command line, --json, messages, exit statuses.
//
// A subcommand is one file of src/cli/ with one function:
//
//   void register_show(Program& program) {
//     auto options = std::make_shared<ShowOptions>();
//     CLI::App& app = program.add_command("show", "Print what a torrent says", "…examples…",
//         [options](Context& context) { return show(context, *options); });
//     app.add_option("torrent", options->torrent, "…")->required();
//   }
//
// and a line in app/main.cc. What it can't make itself (a driver, named only by app/) it takes as a
// further argument of its register function, as an interface or a factory.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "base/result.hh"
#include "cli/console.hh"
#include "cli/exit_status.hh"
#include "cli/interrupt.hh"
#include "cli/report.hh"

namespace penstock::cli {

// What a running command may use. Valid until its action returns.
struct Context {
  Console& console;
  Report& report;
  Interrupt& interrupt;
};

// Runs after the whole command line was parsed. An Error is printed and reported by Program, once,
// and its kind decides the exit status. A status that comes back instead was explained already.
using Action = std::function<Result<ExitStatus>(Context&)>;

class Program {
 public:
  // The console and its streams must outlive the program.
  explicit Program(Console& console);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Adds a command (with -h/--help and --json). footer: examples, shown below the options.
  CLI::App& add_command(const std::string& name, const std::string& about,
                        const std::string& footer, Action action);
  // Adds a command below a group: "leech" of "bench"; its schema is then "penstock.bench.leech/1".
  CLI::App& add_command(CLI::App& group, const std::string& name, const std::string& about,
                        const std::string& footer, Action action);
  // A word that only groups commands.
  CLI::App& add_group(const std::string& name, const std::string& about);

  // Parses, runs and returns the exit status. Once.
  int run(int argc, const char* const* argv);

 private:
  struct Chosen;
  int run_chosen();
  int usage_error(const std::string& message);

  Console& console_;
  std::unique_ptr<CLI::App> app_;
  std::unique_ptr<Chosen> chosen_;
};

}  // namespace penstock::cli
