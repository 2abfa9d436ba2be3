#include "cli/console.hh"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/units.hh"

namespace penstock::cli {
namespace {

constexpr Duration kRedrawEvery = Duration::milliseconds(100);
// Weight of a new sample at a redraw: the rate follows a change within about a second.
constexpr double kRateWeight = 0.2;

bool colour_wanted() {
  const char* no_colour = std::getenv("NO_COLOR");  // https://no-color.org
  if (no_colour != nullptr && *no_colour != '\0') return false;
  const char* term = std::getenv("TERM");
  return term != nullptr && std::string_view(term) != "dumb";
}

const char* code_of(Paint paint) {
  switch (paint) {
    case Paint::plain:
      return "";
    case Paint::bold:
      return "\033[1m";
    case Paint::dim:
      return "\033[2m";
    case Paint::red:
      return "\033[31m";
    case Paint::green:
      return "\033[32m";
    case Paint::yellow:
      return "\033[33m";
    case Paint::cyan:
      return "\033[36m";
  }
  return "";
}

std::string painted(bool colour, Paint paint, std::string_view text) {
  if (!colour || paint == Paint::plain) return std::string(text);
  return code_of(paint) + std::string(text) + "\033[0m";
}

// Bytes of the UTF-8 sequence at the start of text (RFC 3629 §4: shortest forms, no surrogates);
// 0 when it is not one.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  std::size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
  }
  if (length == 0 || text.size() < length || byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return length;
}

// The end of what fits into this many columns, counting a code point as one column and escape
// sequences (ours, for colour) as none.
std::size_t cut_at(std::string_view text, unsigned columns) {
  unsigned used = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '\033') {
      const std::size_t end = text.find('m', at);
      if (end == std::string_view::npos) return at;
      at = end + 1;
      continue;
    }
    if (used == columns) return at;
    ++used;
    at += std::max<std::size_t>(utf8_length(text.substr(at)), 1);
  }
  return text.size();
}

}  // namespace

std::string printable(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const auto byte = static_cast<unsigned char>(text[0]);
    // C1 controls (U+0080 … U+009F) drive some terminals as ESC [ does.
    const bool c1 = length == 2 && byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
    if (length == 0 || byte < 0x20 || byte == 0x7f || c1) {
      const std::size_t escaped = c1 ? 2 : 1;
      for (std::size_t i = 0; i < escaped; ++i) {
        const auto value = static_cast<unsigned char>(text[i]);
        safe += {'\\', 'x', kDigits[value >> 4], kDigits[value & 15]};
      }
      text.remove_prefix(escaped);
    } else {
      safe += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return safe;
}

Instant steady_now() {
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(
              std::chrono::steady_clock::now().time_since_epoch())
              .count()};
}

Console::Console()
    : err_(stderr),
      out_(stdout),
      err_terminal_(::isatty(STDERR_FILENO) == 1),
      err_colour_(err_terminal_ && colour_wanted()),
      out_colour_(::isatty(STDOUT_FILENO) == 1 && colour_wanted()) {}

Console::Console(std::FILE* err, std::FILE* out, bool terminal)
    : err_(err), out_(out), err_terminal_(terminal), err_colour_(terminal), out_colour_(terminal) {}

Console::~Console() {
  clear_status();
}

void Console::line(Paint paint, std::string_view word, std::string_view text) {
  const bool redraw = drawn_;
  clear_status();
  std::string whole = painted(err_colour_, Paint::bold, command_) + ": ";
  if (!word.empty()) whole += painted(err_colour_, paint, word) + ": ";
  whole += printable(text);
  whole += '\n';
  std::fwrite(whole.data(), 1, whole.size(), err_);
  std::fflush(err_);
  if (redraw) status(status_);
}

void Console::note(std::string_view text) {
  line(Paint::plain, "", text);
}
void Console::warn(std::string_view text) {
  line(Paint::yellow, "warning", text);
}
void Console::error(std::string_view text) {
  line(Paint::red, "error", text);
}

void Console::print(std::string_view text) {
  clear_status();
  std::fwrite(text.data(), 1, text.size(), out_);
}

void Console::status(std::string_view text) {
  if (!err_terminal_) return;
  if (status_.data() != text.data()) status_.assign(text);
  // The last column stays free: some terminals wrap when it is written.
  const std::size_t end = cut_at(status_, columns() - 1);
  std::string whole = "\r\033[K" + status_.substr(0, end);
  if (err_colour_) whole += "\033[0m";
  std::fwrite(whole.data(), 1, whole.size(), err_);
  std::fflush(err_);
  drawn_ = true;
}

void Console::clear_status() {
  if (!drawn_) return;
  std::fputs("\r\033[K", err_);
  std::fflush(err_);
  drawn_ = false;
}

unsigned Console::columns() const {
  winsize size{};
  const int fd = ::fileno(err_);
  if (fd >= 0 && ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

std::string Console::paint_out(Paint paint, std::string_view text) const {
  return painted(out_colour_, paint, text);
}
std::string Console::paint_err(Paint paint, std::string_view text) const {
  return painted(err_colour_, paint, text);
}

bool Console::flush_out() {
  return std::fflush(out_) == 0 && std::ferror(out_) == 0;
}

Progress::Progress(Console& console, std::string label, std::uint64_t total_bytes)
    : console_(console),
      label_(std::move(label)),
      total_(total_bytes),
      start_(steady_now()),
      drawn_(start_) {}

Progress::~Progress() {
  console_.clear_status();
}

void Progress::update(std::uint64_t done_bytes) {
  if (!console_.live()) return;
  const Instant now = steady_now();
  if (now - drawn_ < kRedrawEvery) return;
  const double sample =
      static_cast<double>(done_bytes - last_done_) / std::max((now - drawn_).as_seconds(), 1e-3);
  rate_ = rate_ == 0 ? sample : rate_ + kRateWeight * (sample - rate_);
  last_done_ = done_bytes;
  drawn_ = now;
  console_.status(progress_line(label_, done_bytes, total_, rate_, console_.columns()));
}

std::string progress_line(std::string_view label, std::uint64_t done, std::uint64_t total,
                          double bytes_per_second, unsigned columns) {
  const double share =
      total == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  char percent[8];
  // Rounded down: 100 % means all of it.
  std::snprintf(percent, sizeof percent, "%3d%%", static_cast<int>(share * 100));
  std::string tail = std::string("  ") + percent + "  " + format_size(done) + " of " +
                     format_size(total) + "  " + format_rate(bytes_per_second);
  if (bytes_per_second >= 1 && total >= done) {
    tail += "  " + format_time_left(static_cast<double>(total - done) / bytes_per_second) + " left";
  }
  std::string head(label);
  const std::size_t fixed = head.size() + tail.size() + 5;  // two spaces, brackets, last column
  if (fixed + 10 <= columns) {
    const std::size_t width = std::min<std::size_t>(columns - fixed, 40);
    const auto full = static_cast<std::size_t>(share * static_cast<double>(width));
    head += "  [" + std::string(full, '#') + std::string(width - full, '.') + "]";
  }
  return head + tail;
}

}  // namespace penstock::cli
