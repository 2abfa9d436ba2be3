// Every script of this folder, on IPv4 and IPv6, with and without TSO; and the matrix of states and
// events, whose cells name scripts.
//
// packet_test [GoogleTest's options] [--strict-matrix]   all
// packet_test [--ip-version=ipv4|ipv6] [--state=NAME] [--pcap=FILE] SCRIPT…   these
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "packet/runner.hh"

namespace penstock::test {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = PENSTOCK_PACKET_FOLDER;
bool strict_matrix = false;

struct Case {
  std::string path;
  std::string name;  // "segments/ack_of_unsent"
  std::string state;
  bool v6 = false;
  bool tso = false;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> out;
  std::stringstream stream(text);
  for (std::string word; std::getline(stream, word, at);)
    out.push_back(word);
  return out;
}

std::string option_of(const Script& script, const std::string& name) {
  for (const auto& [key, value] : script.options) {
    if (key == name) return value;
  }
  return {};
}

std::string script_name(const fs::path& path) {
  return fs::relative(path, kFolder / "scripts").replace_extension().string();
}

// A script runs once for each state that it names, or once without a prologue.
std::vector<Case> cases_of(const fs::path& path) {
  Script script;
  std::string error;
  std::vector<std::string> states{""};
  if (parse_script(path.string(), script, error)) {
    const std::string named = option_of(script, "states");
    if (!named.empty()) states = split(named, ',');
  }
  std::vector<Case> cases;
  for (const std::string& state : states) {
    for (const bool v6 : {false, true}) {
      const std::string only = option_of(script, "ip-version");
      if (!only.empty() && only != (v6 ? "ipv6" : "ipv4")) continue;
      for (const bool tso : {false, true})
        cases.push_back({path.string(), script_name(path), state, v6, tso});
    }
  }
  return cases;
}

std::vector<Case> all_cases() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(kFolder / "scripts")) {
    if (entry.path().extension() == ".pkt") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Case> cases;
  for (const fs::path& path : paths) {
    for (Case& c : cases_of(path))
      cases.push_back(std::move(c));
  }
  return cases;
}

std::string run_case(const Case& c, support::PcapngWriter* pcap) {
  Script script;
  std::string error;
  if (!parse_script(c.path, script, error)) return error;
  RunOptions options;
  options.v6 = c.v6;
  options.tso = c.tso;
  options.state = c.state;
  options.states = (kFolder / "states").string();
  options.pcap = pcap;
  Runner runner(options);
  return runner.run(script);
}

std::string label(const Case& c) {
  std::string text = c.name + (c.state.empty() ? "" : "__" + c.state) +
                     (c.v6 ? "__ipv6" : "__ipv4") + (c.tso ? "_tso" : "");
  for (char& letter : text) {
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0) letter = '_';
  }
  return text;
}

class PacketScript : public ::testing::TestWithParam<Case> {};

TEST_P(PacketScript, Passes) {
  const std::string error = run_case(GetParam(), nullptr);
  EXPECT_TRUE(error.empty()) << error;
}

INSTANTIATE_TEST_SUITE_P(All, PacketScript, ::testing::ValuesIn(all_cases()),
                         [](const auto& about) { return label(about.param); });

// "full_established" is ESTABLISHED, too.
bool runs_in(const std::set<std::string>& script_states, const std::string& state) {
  return std::any_of(script_states.begin(), script_states.end(), [&state](const std::string& s) {
    return s.empty() || s == state || s.ends_with("_" + state);
  });
}

// A row is a state, a column an event. A cell is the name of a script that exists (and passes: it
// is one of the cases above) and runs in that state, "-" and the clause that makes the event
// impossible, or "open".
TEST(Matrix, EveryCellIsFilled) {
  std::map<std::string, std::set<std::string>> scripts;
  for (const Case& c : all_cases())
    scripts[c.name].insert(c.state);
  std::ifstream file(kFolder / "matrix.tsv");
  std::string line;
  std::vector<std::string> states;
  std::size_t events = 0, open = 0, filled = 0, impossible = 0;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    const std::vector<std::string> cells = split(line, '\t');
    if (states.empty()) {
      states.assign(cells.begin() + 1, cells.end());
      EXPECT_EQ(states.size(), 13u);
      continue;
    }
    ++events;
    ASSERT_EQ(cells.size(), states.size() + 1) << cells[0];
    for (std::size_t i = 0; i < states.size(); ++i) {
      const std::string& cell = cells[i + 1];
      const std::string where = cells[0] + " in " + states[i];
      ASSERT_FALSE(cell.empty()) << where << ": an empty cell";
      if (cell == "open") {
        ++open;
      } else if (cell[0] == '-') {
        EXPECT_GT(cell.size(), 8u) << where << ": impossible by which clause?";
        ++impossible;
      } else {
        const auto it = scripts.find(cell);
        ASSERT_NE(it, scripts.end()) << where << ": there is no script " << cell;
        EXPECT_TRUE(runs_in(it->second, states[i]))
            << where << ": the script " << cell << " doesn't run in this state";
        ++filled;
      }
    }
  }
  EXPECT_GE(events, 32u);
  std::printf("matrix: %zu cells: %zu by scripts, %zu impossible, %zu open\n",
              states.size() * events, filled, impossible, open);
  EXPECT_TRUE(open == 0 || !strict_matrix);
}

int run_named(const std::vector<std::string>& arguments) {
  std::string version, state, pcap_path;
  std::vector<std::string> paths;
  for (const std::string& word : arguments) {
    if (word.rfind("--ip-version=", 0) == 0) {
      version = word.substr(13);
    } else if (word.rfind("--state=", 0) == 0) {
      state = word.substr(8);
    } else if (word.rfind("--pcap=", 0) == 0) {
      pcap_path = word.substr(7);
    } else {
      paths.push_back(word);
    }
  }
  std::unique_ptr<support::PcapngWriter> pcap;
  if (!pcap_path.empty()) pcap = std::make_unique<support::PcapngWriter>(pcap_path.c_str());
  int failed = 0;
  for (const std::string& path : paths) {
    for (const Case& c : cases_of(path)) {
      if (!version.empty() && version != (c.v6 ? "ipv6" : "ipv4")) continue;
      if (!state.empty() && state != c.state) continue;
      const std::string error = run_case(c, pcap.get());
      std::printf("%s %s\n", error.empty() ? "ok" : "FAILED", label(c).c_str());
      if (!error.empty()) std::printf("    %s\n", error.c_str());
      failed += !error.empty();
    }
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace penstock::test

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--strict-matrix") {
      penstock::test::strict_matrix = true;
    } else {
      arguments.emplace_back(argv[i]);
    }
  }
  if (!arguments.empty()) return penstock::test::run_named(arguments);
  return RUN_ALL_TESTS();
}
