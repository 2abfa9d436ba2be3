// SIGINT and SIGTERM as a value to look at and a descriptor to wait on.
//
// The first signal asks the command to stop and clean up (it then exits with 130); a second one
// ends the process at once. SIGPIPE is ignored: a closed reader is a write error.
#pragma once

namespace penstock::cli {

class Interrupt {
 public:
  // Installs the handlers. At most one lives at a time, and it is made before any other thread.
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Any thread may ask.
  [[nodiscard]] bool requested() const;
  // An eventfd that becomes readable with the first signal; don't read it.
  [[nodiscard]] int fd() const;
  // Waits for the first signal, at most this long. True when it came.
  [[nodiscard]] bool wait_for_ms(int timeout_ms) const;
};

}  // namespace penstock::cli
