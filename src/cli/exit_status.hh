// What a command's exit status says (README.md has the table for users).
#pragma once

#include "base/result.hh"

namespace penstock::cli {

enum class ExitStatus : int {
  done = 0,
  failed = 1,         // what was asked for could not be done
  usage = 2,          // the command line or the configuration is wrong
  partial = 3,        // some of it was done
  interrupted = 130,  // SIGINT or SIGTERM, cleaned up (128 + SIGINT, as shells say it)
};

constexpr ExitStatus exit_status_of(ErrorKind kind) {
  return kind == ErrorKind::usage ? ExitStatus::usage : ExitStatus::failed;
}

// The word for it in a report's "status".
constexpr const char* name_of(ExitStatus status) {
  switch (status) {
    case ExitStatus::done:
      return "done";
    case ExitStatus::failed:
      return "failed";
    case ExitStatus::usage:
      return "usage";
    case ExitStatus::partial:
      return "partial";
    case ExitStatus::interrupted:
      return "interrupted";
  }
  return "failed";
}

}  // namespace penstock::cli
