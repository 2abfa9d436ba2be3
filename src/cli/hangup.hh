// SIGHUP as a count to compare and a descriptor to wait on: "read the configuration again".
#pragma once

namespace penstock::cli {

class Hangup {
 public:
  // Installs the handler. At most one lives at a time, and it is made before any other thread.
  Hangup();
  ~Hangup();
  Hangup(const Hangup&) = delete;
  Hangup& operator=(const Hangup&) = delete;

  // True once for any number of signals since the last call.
  bool take();
  // An eventfd that is readable until take().
  [[nodiscard]] int fd() const;
};

}  // namespace penstock::cli
