#include "cli/program.hh"

#include <algorithm>
#include <exception>
#include <new>
#include <set>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "control/nearest.hh"

namespace penstock::cli {
namespace {

constexpr std::size_t kOptionColumn = 30;

// What an option takes: "SIZE", "ADDR:PORT". CLI11 adds what each check would say: ":UINT in [1 -
// 64]",
// ":{direct,buffered}".
std::string type_of(const CLI::Option* option) {
  const std::string type = option->get_type_name();
  for (std::size_t at = type.find(':'); at != std::string::npos; at = type.find(':', at + 1)) {
    const std::string_view rest = std::string_view(type).substr(at + 1);
    if (rest.starts_with('{') || rest.find(" in [") != std::string_view::npos) {
      return type.substr(0, at);
    }
  }
  return type;
}

// CLI11's text with our headings: one blank line between parts, options described by what they take
// ("SIZE"), not by C++ types, and with their defaults.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() {
    column_width(kOptionColumn);
    label("Positionals", "Arguments");
  }
  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string usage = "Usage: " + name;
    const auto options = app->get_options();
    bool has_flags = false;
    std::string required;
    std::string arguments;
    for (const CLI::Option* option : options) {
      if (option->get_positional()) {
        const bool many = option->get_expected_max() > 1;
        const std::string word = option->get_name() + (many ? "..." : "");
        arguments += option->get_required() ? " " + word : " [" + word + "]";
      } else if (option->get_required()) {
        required += " --" + option->get_lnames().front() + " " + type_of(option);
      } else {
        has_flags = true;
      }
    }
    if (has_flags) usage += " [OPTIONS]";
    usage += required + arguments;
    const auto commands = app->get_subcommands([](const CLI::App*) { return true; });
    if (!commands.empty()) usage += " COMMAND";
    return usage + "\n";
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_positional()) return "";
    // Options that may be given more than once say so in their description.
    return option->get_type_size() == 0 ? "" : " " + type_of(option);
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string initial = option->get_default_str();
    return option->get_description() + (initial.empty() ? "" : " (default: " + initial + ")");
  }
  std::string make_footer(const CLI::App* app) const override {
    return app->get_footer().empty() ? "" : app->get_footer() + "\n";
  }
};

// The command the user most likely wants help on.
std::string full_name(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : full_name(*parent) + " " + app.get_name();
}

const CLI::App& deepest(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : deepest(*chosen.front());
}

std::string no_such_command(const CLI::App& group, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : group.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string_view meant = control::nearest(word, views);
  std::string text = "there is no command \"" + word + "\"";
  if (!meant.empty()) text += ": did you mean \"" + std::string(meant) + "\"?";
  return text;
}

std::string no_such_option(const CLI::App& command, const std::string& word) {
  const std::string given = word.substr(0, word.find('='));
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames())
      names.push_back("--" + name);
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string_view meant = control::nearest(given, views);
  std::string text = "there is no option " + given;
  if (!meant.empty()) text += ": did you mean " + std::string(meant) + "?";
  return text;
}

// "bench.leech": the command's part of its schema's name.
std::string schema_of(std::string command) {
  std::replace(command.begin(), command.end(), ' ', '.');
  return command;
}

}  // namespace

struct Program::Chosen {
  std::string command;  // "create", "bench leech"
  Action action;
  bool json = false;
  bool json_wanted = false;        // the word is there, however the rest was parsed
  std::set<std::string> commands;  // all there are, by their full names
};

Program::Program(Console& console)
    : console_(console),
      app_(std::make_unique<CLI::App>("Serves files to BitTorrent clients at the speed of the disk "
                                      "and the network.",
                                      "penstock")),
      chosen_(std::make_unique<Chosen>()) {
  app_->formatter(std::make_shared<HelpFormatter>());
  app_->set_help_flag("-h,--help", "Show this text");
  app_->set_version_flag("--version", "penstock " PENSTOCK_VERSION, "Show the version");
  app_->require_subcommand(0, 1);  // none at all gets our own words in run()
  app_->footer(
      "\"penstock COMMAND --help\" says more. Exit status: 0 done, 1 failed, 2 usage, "
      "3 partial, 130 interrupted.");
}

Program::~Program() = default;

CLI::App& Program::add_command(const std::string& name, const std::string& about,
                               const std::string& footer, Action action) {
  return add_command(*app_, name, about, footer, std::move(action));
}

CLI::App& Program::add_command(CLI::App& group, const std::string& name, const std::string& about,
                               const std::string& footer, Action action) {
  CLI::App* command = group.add_subcommand(name, about);
  command->footer(footer);
  command->group("Commands");
  const std::string path =
      group.get_parent() == nullptr ? name : group.get_name() + " " + name;  // two levels at most
  command->add_flag("--json", chosen_->json, "Report as JSON objects, one a line, on stdout");
  chosen_->commands.insert("penstock " + path);
  command->final_callback([this, path, action = std::move(action)] {
    chosen_->command = path;
    chosen_->action = action;
  });
  return *command;
}

CLI::App& Program::add_group(const std::string& name, const std::string& about) {
  CLI::App* group = app_->add_subcommand(name, about);
  group->group("Commands");
  group->require_subcommand(0, 1);
  return *group;
}

int Program::usage_error(const std::string& message) {
  const std::string name = full_name(deepest(*app_));
  console_.set_command(name);
  console_.error(message);
  console_.note("\"" + name + " --help\" shows how it is used");
  // A machine reads a last object whatever went wrong, if it named a command that has a schema.
  if (chosen_->json_wanted && chosen_->commands.contains(name)) {
    Report report(console_.out());
    report.set_command(schema_of(name.substr(name.find(' ') + 1)));
    report.enable();
    report.finish(ExitStatus::usage, {{"error", message}});
  }
  return static_cast<int>(ExitStatus::usage);
}

int Program::run(int argc, const char* const* argv) {
  chosen_->json_wanted = std::any_of(
      argv + 1, argv + argc, [](const char* word) { return std::string_view(word) == "--json"; });
  try {
    app_->parse(argc, argv);
  } catch (const CLI::CallForVersion& version) {
    console_.print(std::string(version.what()) + "\n");
    return console_.flush_out() ? 0 : static_cast<int>(ExitStatus::failed);
  } catch (const CLI::CallForHelp&) {
    const CLI::App& about = deepest(*app_);
    const CLI::App* parent = about.get_parent();
    console_.print(about.help(parent == nullptr ? "" : full_name(*parent)));
    return console_.flush_out() ? 0 : static_cast<int>(ExitStatus::failed);
  } catch (const CLI::ParseError& error) {
    const CLI::App& at = deepest(*app_);
    const std::vector<std::string> unknown = at.remaining();
    const bool extra = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
    if (unknown.empty() || !extra) return usage_error(error.what());
    const std::string& word = unknown.front();
    if (word.starts_with('-')) return usage_error(no_such_option(at, word));
    if (!at.get_subcommands([](const CLI::App*) { return true; }).empty()) {
      return usage_error(no_such_command(at, word));
    }
    return usage_error("\"" + word + "\" is one argument too many");
  }
  if (!chosen_->action) return usage_error("a command is missing");
  return run_chosen();
}

int Program::run_chosen() {
  console_.set_command("penstock " + chosen_->command);
  Report report(console_.out());
  report.set_command(schema_of(chosen_->command));
  if (chosen_->json) report.enable();

  Result<ExitStatus> outcome = ExitStatus::failed;
  try {
    Interrupt interrupt;
    Context context{console_, report, interrupt};
    outcome = chosen_->action(context);
  } catch (const std::bad_alloc&) {
    outcome = fail("out of memory");
  } catch (const std::exception& error) {
    outcome = fail(std::string("unexpected: ") + error.what());
  }
  console_.clear_status();

  ExitStatus status = ExitStatus::failed;
  if (outcome) {
    status = *outcome;
    if (!report.finished()) report.finish(status, nlohmann::ordered_json::object());
  } else {
    status = exit_status_of(outcome.error().kind);
    console_.error(outcome.error().message);
    if (!report.finished()) report.finish(status, {{"error", outcome.error().message}});
  }
  if (!console_.flush_out()) {
    console_.error("writing to standard output failed: is the disk full or the reader gone?");
    if (status == ExitStatus::done) status = ExitStatus::failed;
  }
  return static_cast<int>(status);
}

}  // namespace penstock::cli
