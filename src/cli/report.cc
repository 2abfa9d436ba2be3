#include "cli/report.hh"

#include <nlohmann/json.hpp>

#include "base/assert.hh"

namespace penstock::cli {

using Json = nlohmann::ordered_json;

void Report::write(Json object, const Json& fields) {
  for (const auto& [key, value] : fields.items())
    object[key] = value;
  const std::string line = object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fwrite(line.data(), 1, line.size(), out_);
  std::fflush(out_);
}

void Report::event(const Json& fields) {
  ASSERT(!finished_);
  if (!enabled_) return;
  write(Json{{"schema", schema_}}, fields);
}

void Report::finish(ExitStatus status, const Json& fields) {
  ASSERT(!finished_);
  finished_ = true;
  if (!enabled_) return;
  write(Json{{"schema", schema_}, {"final", true}, {"status", name_of(status)}}, fields);
}

}  // namespace penstock::cli
