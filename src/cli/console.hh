// What people see: messages and one live status line on stderr, results on stdout.
//
// A status line is only drawn where stderr is a terminal, and only there and on a terminal's stdout
// are colours used (never when NO_COLOR is set or TERM is "dumb"). Everything is written by the
// command's own thread; the class has no lock.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/result.hh"
#include "base/time.hh"

namespace penstock::cli {

enum class Paint { plain, bold, dim, red, green, yellow, cyan };

class Console {
 public:
  // The process's stderr and stdout.
  Console();
  // For tests: any streams, which must outlive the console; terminal says what both pretend to be.
  Console(std::FILE* err, std::FILE* out, bool terminal);
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  ~Console();

  // Prefixed to messages: "penstock create".
  void set_command(std::string command) { command_ = std::move(command); }

  // A line on stderr: a fact worth knowing, something odd, what stopped us. Control characters and
  // invalid UTF-8 in the text (file names, torrents) are escaped.
  void note(std::string_view text);
  void warn(std::string_view text);
  void error(std::string_view text);

  // Text of the result, on stdout, as it is.
  void print(std::string_view text);

  // Whether status() draws anything.
  [[nodiscard]] bool live() const { return err_terminal_; }
  // Replaces the line at the bottom; cut to the terminal's width. Messages appear above it.
  void status(std::string_view line);
  void clear_status();
  // Columns of the terminal; 80 where that can't be asked.
  [[nodiscard]] unsigned columns() const;

  // The text in colour where results (stdout) may have colour.
  [[nodiscard]] std::string paint_out(Paint paint, std::string_view text) const;
  // The same for the status line (stderr).
  [[nodiscard]] std::string paint_err(Paint paint, std::string_view text) const;

  // False when a write to stdout failed (full disk, closed pipe). Flushes.
  bool flush_out();
  [[nodiscard]] std::FILE* out() { return out_; }

 private:
  void line(Paint paint, std::string_view word, std::string_view text);

  std::FILE* err_;
  std::FILE* out_;
  bool err_terminal_;
  bool err_colour_;
  bool out_colour_;
  bool drawn_ = false;  // a status line is on the screen
  std::string command_ = "penstock";
  std::string status_;
};

// The text with control characters as \xNN and invalid UTF-8 bytes likewise, so that a hostile file
// name can't drive the terminal.
std::string printable(std::string_view text);

// The time that progress, rates and "seconds" are measured with.
Instant steady_now();

// One bar: what is done of a known total of bytes, the rate and the time left.
class Progress {
 public:
  // Draws on the console, which must outlive it.
  Progress(Console& console, std::string label, std::uint64_t total_bytes);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Redraws at most ten times a second.
  void update(std::uint64_t done_bytes);

 private:
  Console& console_;
  std::string label_;
  std::uint64_t total_;
  Instant start_;
  Instant drawn_;
  // Of the recent rate: an exponential average, so that a slow disk shows within seconds.
  std::uint64_t last_done_ = 0;
  double rate_ = 0;  // bytes per second; 0 until known
};

// The bar itself, for tests: "hashing  [####....]  41%  1.2 GiB of 2.9 GiB  1.40 GiB/s  0:01 left".
std::string progress_line(std::string_view label, std::uint64_t done, std::uint64_t total,
                          double bytes_per_second, unsigned columns);

}  // namespace penstock::cli
