#include "packet/script.hh"

#include <cctype>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>

namespace penstock::test {
namespace {

using wire::TcpFlags;

// Splits at blanks, but not within <…>; a comment ends the line.
std::vector<std::string> split(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  int depth = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (depth == 0 && line.substr(i, 2) == "//") break;
    const bool lone = words.size() == 1 && word.empty() && (c == '<' || c == '>');
    if (c == '<' && !lone) ++depth;
    if (c == '>' && !lone) --depth;
    if (std::isspace(static_cast<unsigned char>(c)) && depth <= 0) {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
    } else {
      word += c;
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

bool parse_seconds(std::string_view text, Duration& out) {
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  if (text.empty()) return false;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0) return false;
  out = Duration::nanoseconds(std::llround(value * 1e9));
  return true;
}

bool parse_time(const std::string& word, Command& out) {
  if (word == "*") return out.any_time = true;
  const std::size_t tilde = word.find('~');
  if (tilde == std::string::npos) {
    if (!parse_seconds(word, out.from)) return false;
    out.to = out.from;
    return true;
  }
  out.ranged = true;
  return parse_seconds(std::string_view(word).substr(0, tilde), out.from) &&
         parse_seconds(std::string_view(word).substr(tilde + 1), out.to) && out.from <= out.to;
}

bool parse_flags(std::string_view text, PacketPattern& out) {
  for (const char c : text) {
    switch (c) {
      case 'S':
        out.flags |= TcpFlags::syn;
        break;
      case 'F':
        out.flags |= TcpFlags::fin;
        break;
      case 'R':
        out.flags |= TcpFlags::rst;
        break;
      case 'P':
        out.flags |= TcpFlags::psh;
        out.push_given = true;
        break;
      case 'U':
        out.flags |= TcpFlags::urg;
        break;
      case 'E':
        out.flags |= TcpFlags::ece;
        break;
      case 'W':
        out.flags |= TcpFlags::cwr;
        break;
      case '.':
        out.flags |= TcpFlags::ack;
        break;
      case '-':
        break;
      default:
        return false;
    }
  }
  return !text.empty();
}

// "BEGIN:END(LENGTH)", or "*".
bool parse_range(std::string_view text, PacketPattern& out) {
  if (text == "*") {
    out.seq.given = out.seq.any = out.length.given = out.length.any = true;
    return true;
  }
  const std::size_t colon = text.find(':');
  const std::size_t open = text.find('(');
  if (colon == std::string_view::npos || open == std::string_view::npos || text.back() != ')') {
    return false;
  }
  return parse_number(text.substr(0, colon), out.seq) &&
         parse_number(text.substr(colon + 1, open - colon - 1), out.end) &&
         parse_number(text.substr(open + 1, text.size() - open - 2), out.length);
}

bool parse_hex(std::string_view text, std::vector<std::uint8_t>& out) {
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, value, 16);
    if (error != std::errc{} || end != text.data() + i + 2) return false;
    out.push_back(static_cast<std::uint8_t>(value));
  }
  return text.size() % 2 == 0;
}

bool parse_one_option(const std::vector<std::string>& words, OptionList& out) {
  const std::string& name = words[0];
  const auto number = [&words](std::size_t i, Number& n) {
    return i < words.size() && parse_number(words[i], n);
  };
  if (name == "nop" || name == "eol") return true;
  if (name == "...") return out.open = true;
  if (name == "mss") return number(1, out.mss);
  if (name == "wscale") return number(1, out.shift);
  if (name == "sackOK") return out.sack_permitted = true;
  if (name == "raw") return words.size() == 2 && parse_hex(words[1], out.raw);
  if (name == "TS") {
    out.has_timestamps = true;
    return words.size() == 5 && words[1] == "val" && words[3] == "ecr" && number(2, out.ts_value) &&
           number(4, out.ts_echo);
  }
  if (name != "sack") return false;
  out.has_sacks = true;
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "*") {
      out.any_sacks = true;
      continue;
    }
    const std::size_t colon = words[i].find(':');
    std::array<Number, 2> block;
    if (colon == std::string::npos || !parse_number(words[i].substr(0, colon), block[0]) ||
        !parse_number(words[i].substr(colon + 1), block[1])) {
      return false;
    }
    out.sacks.push_back(block);
  }
  return out.sacks.size() <= 4;
}

bool parse_options(std::string_view text, OptionList& out) {
  out.given = true;
  text = text.substr(1, text.size() - 2);
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::vector<std::string> words = split(text.substr(0, comma));
    if (!words.empty() && !parse_one_option(words, out)) return false;
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return true;
}

// What may follow flags and range, in any order.
bool parse_tail(const std::vector<std::string>& words, std::size_t at, PacketPattern& out) {
  for (; at < words.size(); ++at) {
    const std::string& word = words[at];
    const bool more = at + 1 < words.size();
    if (word == "ack" && more) {
      if (!parse_number(words[++at], out.ack)) return false;
    } else if (word == "win" && more) {
      if (!parse_number(words[++at], out.window)) return false;
    } else if (word == "mtu" && more) {
      if (!parse_number(words[++at], out.mtu)) return false;
    } else if (word == "quote" && more) {
      if (!parse_number(words[++at], out.quoted)) return false;
    } else if (word.size() >= 2 && word.front() == '<' && word.back() == '>') {
      if (!parse_options(word, out.options)) return false;
    } else if (word == "not-ect") {
      out.ecn = 0;
    } else if (word == "ect1") {
      out.ecn = 1;
    } else if (word == "ect0") {
      out.ecn = 2;
    } else if (word == "ce") {
      out.ecn = 3;
    } else if (word == "bad-checksum") {
      out.bad_checksum = true;
    } else if (word == "bad-bytes") {
      out.bad_bytes = true;
    } else {
      return false;
    }
  }
  return true;
}

bool parse_packet_words(const std::vector<std::string>& words, std::size_t at, PacketPattern& out) {
  if (at >= words.size()) return false;
  if (words[at] == "icmp") {
    out.icmp = true;
    if (at + 1 >= words.size()) return false;
    out.icmp_name = words[at + 1];
    return parse_tail(words, at + 2, out);
  }
  if (!parse_flags(words[at], out)) return false;
  if (at + 1 >= words.size() || !parse_range(words[at + 1], out)) return false;
  return parse_tail(words, at + 2, out);
}

bool parse_command(const std::vector<std::string>& words, Command& out) {
  if (words.size() < 2 || !parse_time(words[0], out)) return false;
  std::size_t at = 1;
  if (words[1] == "<" || words[1] == ">") {
    out.kind = words[1] == "<" ? Command::Kind::inbound : Command::Kind::outbound;
    at = 2;
  }
  for (std::size_t i = at; i < words.size(); ++i) {
    if (words[i].size() == 2 && words[i][0] == '@' && std::isdigit(words[i][1])) {
      out.flow = words[i][1] - '0';
    } else {
      out.words.push_back(words[i]);
    }
  }
  if (out.kind != Command::Kind::call) return parse_packet_words(out.words, 0, out.packet);
  return !out.words.empty();
}

}  // namespace

bool parse_number(std::string_view text, Number& out) {
  out.given = true;
  if (text == "*") return out.any = true;
  const auto read = [](std::string_view part, std::uint32_t& value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error == std::errc{} && end == part.data() + part.size() && !part.empty()) return true;
    // Before the base: what lies behind it wraps around.
    std::int32_t negative = 0;
    const auto [end2, error2] = std::from_chars(part.data(), part.data() + part.size(), negative);
    value = static_cast<std::uint32_t>(negative);
    return error2 == std::errc{} && end2 == part.data() + part.size() && !part.empty();
  };
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    if (!read(text, out.v4)) return false;
    out.v6 = out.v4;
    return true;
  }
  return read(text.substr(0, slash), out.v4) && read(text.substr(slash + 1), out.v6);
}

bool parse_script_text(const std::string& path, std::string_view text, Script& out,
                       std::string& error) {
  out.file = path;
  int number = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const std::vector<std::string> words = split(line);
    if (words.empty()) continue;
    const std::string where = path + ":" + std::to_string(number) + ": ";
    if (words[0].rfind("--", 0) == 0) {
      const std::size_t equals = words[0].find('=');
      if (equals == std::string::npos || words.size() != 1) {
        error = where + "an option is --name=value";
        return false;
      }
      out.options.emplace_back(words[0].substr(2, equals - 2), words[0].substr(equals + 1));
      continue;
    }
    Command command;
    command.file = path;
    command.line = number;
    command.text = line;
    if (!parse_command(words, command)) {
      error = where + "not understood: " + line;
      return false;
    }
    out.commands.push_back(std::move(command));
  }
  return true;
}

bool parse_script(const std::string& path, Script& out, std::string& error) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) {
    error = path + ": can't be read";
    return false;
  }
  return parse_script_text(path, text.str(), out, error);
}

}  // namespace penstock::test
