// --backend and what it needs: whose TCP a command uses, over which device, at which addresses.
#pragma once

#include <optional>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/result.hh"
#include "control/network_words.hh"

namespace penstock::cli {

// words outlive the app.
void add_network_options(CLI::App& app, control::NetworkWords& words);
// control::own_network by the options' names.
[[nodiscard]] Result<std::optional<control::OwnNetwork>> own_network(
    const control::NetworkWords& words, const std::vector<Endpoint>& listen);

}  // namespace penstock::cli
