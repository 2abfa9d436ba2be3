#include "cli/check.hh"

#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "control/config.hh"

namespace penstock::cli {
namespace {

struct CheckOptions {
  std::string file;
  bool defaults = false;
};

nlohmann::ordered_json as_json(const control::ConfigErrors& errors) {
  auto list = nlohmann::ordered_json::array();
  for (const control::ConfigError& error : errors.list) {
    list.push_back({{"file", error.file},
                    {"line", error.line},
                    {"column", error.column},
                    {"message", error.message}});
  }
  return list;
}

Result<ExitStatus> check(Context& context, const CheckOptions& options) {
  if (options.defaults) {
    if (context.report.enabled()) {
      context.report.finish(ExitStatus::done, {{"defaults", control::default_config_text()}});
    } else {
      context.console.print(control::default_config_text());
    }
    return ExitStatus::done;
  }
  if (options.file.empty()) return fail("expected FILE or --defaults", ErrorKind::usage);
  const auto loaded = control::load_config(options.file);
  if (!loaded) {
    for (const control::ConfigError& error : loaded.error().list) {
      context.console.error(error.to_string());
    }
    context.report.finish(ExitStatus::usage, {{"errors", as_json(loaded.error())}});
    return ExitStatus::usage;
  }
  for (const std::string& file : loaded->files)
    context.console.note(file + ": good");
  context.report.finish(ExitStatus::done, {{"files", loaded->files}});
  return ExitStatus::done;
}

}  // namespace

void register_check(Program& program) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App& app = program.add_command(
      "check", "Check a configuration file of the appliance",
      "Examples:\n"
      "  penstock check /etc/penstock.toml\n"
      "  penstock check --defaults > penstock.toml\n"
      "Exit status 2 when the file is wrong; every error is printed with its line.",
      [options](Context& context) { return check(context, *options); });
  app.add_option("file", options->file, "The configuration; conf.d/*.toml beside it is read too")
      ->type_name("FILE");
  app.add_flag("--defaults", options->defaults, "Print every key with its help and default");
}

}  // namespace penstock::cli
