// The program: which commands there are, and what drivers they run on.
#include "app/engine.hh"
#include "app/load_run.hh"
#include "cli/bench_leech.hh"
#include "cli/bench_stack.hh"
#include "cli/check.hh"
#include "cli/commands.hh"
#include "cli/console.hh"
#include "cli/program.hh"
#include "cli/seed.hh"
#include "cli/serve.hh"

int main(int argc, char** argv) {
  penstock::cli::Console console;
  penstock::cli::Program program(console);
  penstock::cli::register_check(program);
  penstock::cli::register_create(program);
  penstock::cli::register_seed(program, penstock::app::Engine::start);
  penstock::cli::register_serve(program, penstock::app::Engine::start);
  penstock::cli::register_show(program);
  penstock::cli::register_verify(program);
  CLI::App& bench = program.add_group("bench", "Measure seeds, this one or others");
  penstock::cli::register_bench_leech(program, bench, penstock::app::start_load);
  penstock::cli::register_bench_stack(program, bench, penstock::app::start_load);
  return program.run(argc, argv);
}
