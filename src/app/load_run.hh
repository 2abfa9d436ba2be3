// The load generator on a real driver: its ring, its streams, its loop.
#pragma once

#include <memory>

#include "control/load_api.hh"

namespace penstock::app {

// A control::LoadFactory. Everything of it belongs to the calling thread.
Result<std::unique_ptr<control::LoadApi>> start_load(
    const LoadPlan& plan, std::shared_ptr<const Metainfo> metainfo,
    const std::optional<control::OwnNetwork>& network);

}  // namespace penstock::app
