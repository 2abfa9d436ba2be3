// What machines read: with --json, one JSON object a line on stdout (NDJSON).
//
// Every object begins with "schema": "penstock.<command>/1"; the last one of a run, and only that,
// has "final": true and "status". Bytes are integers, seconds are floats. The schemas are
// config/schema/penstock.<command>.1.json. Bytes of names that are not UTF-8 become U+FFFD.
#pragma once

#include <cstdio>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/exit_status.hh"

namespace penstock::cli {

class Report {
 public:
  // out must outlive the report; nothing is written to it unless enable() was called.
  explicit Report(std::FILE* out) : out_(out) {}

  // "create", "bench.leech".
  void set_command(const std::string& command) { schema_ = "penstock." + command + "/1"; }
  void enable() { enabled_ = true; }
  // True with --json: then no text for people goes to stdout.
  [[nodiscard]] bool enabled() const { return enabled_; }

  // One object that is not the last; flushed, so that a reader at the other end of a pipe sees it.
  void event(const nlohmann::ordered_json& fields);
  // The last object. Once a run; a command that returns an error leaves it to Program.
  void finish(ExitStatus status, const nlohmann::ordered_json& fields);
  [[nodiscard]] bool finished() const { return finished_; }

 private:
  void write(nlohmann::ordered_json object, const nlohmann::ordered_json& fields);

  std::FILE* out_;
  std::string schema_;
  bool enabled_ = false;
  bool finished_ = false;
};

}  // namespace penstock::cli
