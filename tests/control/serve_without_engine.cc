// `penstock serve` with an engine that moves no bytes: what the end-to-end tests of control run
// where no data has to flow.
#include "cli/console.hh"
#include "cli/program.hh"
#include "cli/serve.hh"
#include "fake_engine.hh"

int main(int argc, char** argv) {
  penstock::cli::Console console;
  penstock::cli::Program program(console);
  penstock::cli::register_serve(
      program,
      [](const penstock::control::EngineOptions& options)
          -> penstock::Result<std::unique_ptr<penstock::control::EngineApi>> {
        return std::make_unique<penstock::test::FakeEngine>(options);
      });
  return program.run(argc, argv);
}
