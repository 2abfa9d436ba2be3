// --backend and what it needs: whose TCP a command uses, over which device, at which addresses.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/result.hh"
#include "control/own_network.hh"

namespace penstock::cli {

struct NetworkOptions {
  std::string backend = "auto";
  std::string interface;  // empty: tap0, for the TAP backend
  std::string device;
  std::vector<std::string> addresses;
  std::vector<std::string> gateways;
  bool no_offload = false;
};

// options outlive the app.
void add_network_options(CLI::App& app, NetworkOptions& options);
// Puts another word in the place of "auto": the fastest backend that was given something to work
// with. Says which, and what a faster one would need; nothing if it wasn't "auto".
std::string choose_backend(NetworkOptions& options);
// None: the kernel's TCP. After choose_backend().
[[nodiscard]] Result<std::optional<control::OwnNetwork>> own_network(const NetworkOptions& options);

}  // namespace penstock::cli
