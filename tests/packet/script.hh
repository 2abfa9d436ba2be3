// Packet scripts: a subset of packetdrill's syntax with words of our own for the application's side
// (README.md has the grammar). This is the parser; runner.hh runs what it yields.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hh"
#include "wire/tcp.hh"

namespace penstock::test {

// A number that may differ between IPv4 and IPv6, or be "any".
struct Number {
  bool given = false;
  bool any = false;
  std::uint32_t v4 = 0;
  std::uint32_t v6 = 0;

  [[nodiscard]] std::uint32_t value(bool is_v6) const { return is_v6 ? v6 : v4; }
  [[nodiscard]] bool fits(std::uint32_t n, bool is_v6) const {
    return !given || any || value(is_v6) == n;
  }
};

// Options as written: a list that may be open at its end ("...").
struct OptionList {
  bool given = false;
  bool open = false;
  Number mss, shift, ts_value, ts_echo;
  bool sack_permitted = false;
  bool has_timestamps = false;
  bool has_sacks = false;
  bool any_sacks = false;
  std::vector<std::array<Number, 2>> sacks;
  std::vector<std::uint8_t> raw;  // "raw 1e02ff…": bytes as they are, inbound only
};

struct PacketPattern {
  bool icmp = false;
  // TCP.
  std::uint8_t flags = 0;
  bool push_given = false;
  Number seq, end, length, ack, window;
  OptionList options;
  int ecn = -1;  // of the IP header; -1: not said
  bool bad_checksum = false;
  bool bad_bytes = false;  // payload that isn't the stream's
  // ICMP.
  std::string icmp_name;
  Number mtu;
  Number quoted;  // sequence number of ours that it quotes
};

struct Command {
  enum class Kind : std::uint8_t { inbound, outbound, call };
  std::string file;
  int line = 0;
  std::string text;
  // When, after the command before: from … to. any: whenever it comes.
  Duration from;
  Duration to;
  bool ranged = false;
  bool any_time = false;
  Kind kind = Kind::call;
  int flow = 0;  // "@N"
  PacketPattern packet;
  std::vector<std::string> words;  // of a call
};

struct Script {
  std::string file;
  std::vector<std::pair<std::string, std::string>> options;  // "--name=value"
  std::vector<Command> commands;
};

// False: `error` says where and what.
bool parse_script(const std::string& path, Script& out, std::string& error);
bool parse_script_text(const std::string& path, std::string_view text, Script& out,
                       std::string& error);
bool parse_number(std::string_view text, Number& out);

}  // namespace penstock::test
