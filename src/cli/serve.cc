#include "cli/serve.hh"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <spdlog/spdlog.h>

#include "cli/hangup.hh"
#include "control/appliance.hh"
#include "control/config.hh"
#include "control/log.hh"
#include "control/service_notify.hh"

namespace penstock::cli {
namespace {

struct ServeOptions {
  std::string config;
};

// The errors as one: the console prints a line for each.
Result<control::Config> first_config(Context& context, const std::string& file) {
  auto loaded = control::load_config(file);
  if (loaded) return std::move(loaded->config);
  for (const control::ConfigError& error : loaded.error().list) {
    context.console.error(error.to_string());
  }
  const std::size_t count = loaded.error().list.size();
  return fail("the configuration has " + std::to_string(count) +
                  (count == 1 ? " error" : " errors") + ": not started",
              ErrorKind::usage);
}

Result<void> make_state_directory(const std::string& path) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(path, error);
  if (error) return fail("state directory " + path + ": " + error.message(), ErrorKind::io);
  if (made) std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  return {};
}

void announce_start(Context& context, const control::EngineApi& engine,
                    const control::Appliance& appliance) {
  auto listening = nlohmann::ordered_json::array();
  for (const Endpoint& endpoint : engine.listening()) {
    spdlog::info("BitTorrent on {}", endpoint.to_string());
    listening.push_back(endpoint.to_string());
  }
  nlohmann::ordered_json event{{"event", "serving"}, {"listen", listening}};
  const Endpoint http = appliance.http_listening();
  if (http.port != 0) {
    spdlog::info("HTTP on http://{}/metrics", http.to_string());
    event["http"] = http.to_string();
  }
  if (context.report.enabled()) context.report.event(event);
}

// Until SIGINT or SIGTERM; SIGHUP reloads.
void run_until_stopped(Context& context, Hangup& hangup, control::Appliance& appliance,
                       const control::ServiceNotifier& manager, const std::string& file) {
  manager.ready("serving");
  while (!context.interrupt.requested()) {
    pollfd waits[2] = {{context.interrupt.fd(), POLLIN, 0}, {hangup.fd(), POLLIN, 0}};
    poll(waits, 2, -1);
    if (!hangup.take() || context.interrupt.requested()) continue;
    manager.reloading();
    const bool applied = appliance.reload(control::load_config(file));
    manager.ready(applied ? "serving" : "serving; the last reload was refused, see the log");
    if (context.report.enabled()) {
      context.report.event({{"event", "reload"}, {"applied", applied}});
    }
  }
}

Result<ExitStatus> serve(Context& context, const ServeOptions& options,
                         const control::EngineFactory& factory) {
  const auto config = first_config(context, options.config);
  if (!config) return tl::unexpected(config.error());
  control::set_up_log(config->log_format, config->log_level);
  if (auto made = make_state_directory(config->state); !made) {
    return tl::unexpected(made.error());
  }
  Hangup hangup;  // before the first thread
  control::NetworkWords network = control::network_words(*config);
  if (const auto chosen = control::choose_backend(network, control::kConfigNames);
      !chosen.empty() && network.backend != "kernel") {
    spdlog::info("{}", chosen);
  }
  auto engine = factory(control::engine_options(*config));
  if (!engine) return tl::unexpected(engine.error());
  auto appliance = control::Appliance::start(*config, **engine);
  if (!appliance) return tl::unexpected(appliance.error());
  announce_start(context, **engine, **appliance);

  const control::ServiceNotifier manager;
  run_until_stopped(context, hangup, **appliance, manager, options.config);

  manager.stopping();
  spdlog::info("stopping");
  (*appliance)->stop();
  appliance->reset();
  engine->reset();
  spdlog::info("stopped");
  // Being stopped is how a service ends well: not 130.
  return ExitStatus::done;
}

}  // namespace

void register_serve(Program& program, control::EngineFactory factory) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App& app =
      program.add_command("serve", "Serve what a configuration says, until stopped",
                          "SIGHUP reads the configuration again, SIGINT and SIGTERM stop.\n"
                          "Examples:\n"
                          "  penstock check --defaults > penstock.toml\n"
                          "  penstock serve --config penstock.toml",
                          [options, factory = std::move(factory)](Context& context) {
                            return serve(context, *options, factory);
                          });
  app.add_option("--config", options->config,
                 "What to serve and how (\"penstock check\" checks it)")
      ->type_name("FILE")
      ->required();
}

}  // namespace penstock::cli
