#include "cli/program.hh"

#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support_streams.hh"

namespace penstock::cli {
namespace {

struct World {
  Streams streams;
  Console console{streams.err(), streams.out(), false};
  Program program{console};

  int run(const std::vector<const char*>& arguments) {
    std::vector<const char*> argv{"penstock"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return program.run(static_cast<int>(argv.size()), argv.data());
  }
};

TEST(Program, RunsTheChosenCommandWithItsStatus) {
  World world;
  int ran = 0;
  world.program.add_command("a", "first", "", [&](Context&) {
    ran += 1;
    return ExitStatus::done;
  });
  world.program.add_command("b", "second", "", [&](Context&) {
    ran += 100;
    return ExitStatus::partial;
  });
  EXPECT_EQ(world.run({"b"}), 3);
  EXPECT_EQ(ran, 100);
  EXPECT_EQ(world.streams.out_text(), "");
}

TEST(Program, PrintsAnErrorOnceAndTakesTheStatusFromItsKind) {
  World world;
  world.program.add_command("a", "first", "", [](Context&) -> Result<ExitStatus> {
    return fail("the disk is gone; look at the cable", ErrorKind::io);
  });
  EXPECT_EQ(world.run({"a"}), 1);
  EXPECT_EQ(world.streams.err_text(), "penstock a: error: the disk is gone; look at the cable\n");
}

TEST(Program, AnswersMistakesWithStatus2AndTheWayToHelp) {
  for (const auto& arguments : std::vector<std::vector<const char*>>{
           {}, {"nonsense"}, {"a", "--nonsense"}, {"a", "one", "two"}, {"a"}}) {
    World world;
    std::string value;
    CLI::App& app =
        world.program.add_command("a", "first", "", [](Context&) { return ExitStatus::done; });
    app.add_option("value", value, "A value")->required();
    EXPECT_EQ(world.run(arguments), 2);
    EXPECT_NE(world.streams.err_text().find("--help\" shows"), std::string::npos);
    EXPECT_EQ(world.streams.out_text(), "");
  }
}

TEST(Program, GuessesWhichCommandWasMeant) {
  World world;
  world.program.add_command("verify", "first", "", [](Context&) { return ExitStatus::done; });
  EXPECT_EQ(world.run({"verfiy", "x", "--json"}), 2);
  EXPECT_NE(world.streams.err_text().find("no command \"verfiy\": did you mean \"verify\"?"),
            std::string::npos)
      << world.streams.err_text();
}

TEST(Program, GuessesWhichOptionWasMeantAndTellsMachinesToo) {
  for (const char* word : {"--piecesize", "--piecesize=5"}) {
    World world;
    std::string size;
    CLI::App& app =
        world.program.add_command("a", "first", "", [](Context&) { return ExitStatus::done; });
    app.add_option("--piece-size", size, "How large")->type_name("SIZE");
    EXPECT_EQ(world.run({"a", "--json", word, "x"}), 2);
    const std::string message = "there is no option --piecesize: did you mean --piece-size?";
    EXPECT_NE(world.streams.err_text().find(message), std::string::npos)
        << world.streams.err_text();
    const auto object = nlohmann::json::parse(world.streams.out_text());
    EXPECT_EQ(object["schema"], "penstock.a/1");
    EXPECT_EQ(object["final"], true);
    EXPECT_EQ(object["status"], "usage");
    EXPECT_EQ(object["error"], message);
  }
}

TEST(Program, HelpSaysWhatOptionsTakeAndTheirDefaults) {
  World world;
  std::string listen;
  std::string config;
  unsigned shards = 3;
  CLI::App& app =
      world.program.add_command("a", "first", "", [](Context&) { return ExitStatus::done; });
  app.add_option("--listen", listen, "Where")->type_name("ADDR:PORT");
  app.add_option("--shards", shards, "Threads")
      ->type_name("N")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--config", config, "What")->type_name("FILE")->required();
  EXPECT_EQ(world.run({"a", "--help"}), 0);
  const std::string help = world.streams.out_text();
  for (const char* part : {"Usage: penstock a [OPTIONS] --config FILE\n", "--listen ADDR:PORT ",
                           "--shards N ", "Threads (default: 3)\n"}) {
    EXPECT_NE(help.find(part), std::string::npos) << part << " is not in\n" << help;
  }
}

TEST(Program, ReportsJsonWithSchemaAndOneFinalObject) {
  World world;
  CLI::App& group = world.program.add_group("bench", "Measure");
  world.program.add_command(group, "leech", "Load", "", [](Context& context) {
    context.report.event({{"bytes", 1}});
    context.report.finish(ExitStatus::partial, {{"bytes", 2}, {"name", "\xff"}});
    return ExitStatus::partial;
  });
  EXPECT_EQ(world.run({"bench", "leech", "--json"}), 3);
  EXPECT_EQ(world.streams.out_text(),
            "{\"schema\":\"penstock.bench.leech/1\",\"bytes\":1}\n"
            "{\"schema\":\"penstock.bench.leech/1\",\"final\":true,\"status\":\"partial\","
            "\"bytes\":2,\"name\":\"\xef\xbf\xbd\"}\n");
}

TEST(Program, ReportsAnErrorAsTheFinalObject) {
  World world;
  world.program.add_command("a", "first", "", [](Context&) -> Result<ExitStatus> {
    return fail("no such thing", ErrorKind::usage);
  });
  EXPECT_EQ(world.run({"a", "--json"}), 2);
  const auto object = nlohmann::json::parse(world.streams.out_text());
  EXPECT_EQ(object["final"], true);
  EXPECT_EQ(object["status"], "usage");
  EXPECT_EQ(object["error"], "no such thing");
}

TEST(Program, TurnsAnExceptionIntoAnError) {
  World world;
  world.program.add_command(
      "a", "first", "", [](Context&) -> Result<ExitStatus> { throw std::runtime_error("boom"); });
  EXPECT_EQ(world.run({"a"}), 1);
  EXPECT_NE(world.streams.err_text().find("boom"), std::string::npos);
}

TEST(Program, GivesTheCommandItsInterrupt) {
  World world;
  world.program.add_command("a", "first", "", [](Context& context) {
    EXPECT_FALSE(context.interrupt.requested());
    EXPECT_FALSE(context.interrupt.wait_for_ms(0));
    std::raise(SIGTERM);
    EXPECT_TRUE(context.interrupt.wait_for_ms(0));
    return ExitStatus::interrupted;
  });
  EXPECT_EQ(world.run({"a"}), 130);
}

TEST(Program, HelpAndVersionGoToStdoutWithStatus0) {
  World world;
  EXPECT_EQ(world.run({"--version"}), 0);
  EXPECT_EQ(world.streams.out_text(), "penstock " PENSTOCK_VERSION "\n");

  World other;
  std::string path;
  CLI::App& app = other.program.add_command("a", "Does the first thing", "Example:\n  penstock a",
                                            [](Context&) { return ExitStatus::done; });
  app.add_option("-o,--output", path, "Where it goes")->type_name("FILE");
  EXPECT_EQ(other.run({"a", "--help"}), 0);
  const std::string help = other.streams.out_text();
  for (const char* part :
       {"Does the first thing", "Usage: penstock a", "--output FILE", "Example:"})
    EXPECT_NE(help.find(part), std::string::npos) << help;
}

TEST(Program, SaysWhenStdoutCannotBeWritten) {
  Streams streams;
  std::FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  {
    Console console(streams.err(), full, false);
    Program program(console);
    program.add_command("a", "first", "", [](Context& context) {
      context.console.print("result\n");
      return ExitStatus::done;
    });
    const char* argv[] = {"penstock", "a"};
    EXPECT_EQ(program.run(2, argv), 1);
  }
  std::fclose(full);
  EXPECT_NE(streams.err_text().find("standard output"), std::string::npos);
}

}  // namespace
}  // namespace penstock::cli
