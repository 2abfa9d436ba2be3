// Bencoding (BEP 3): a parser that copies nothing, and a canonical writer.
//
// parse() makes one flat array of tokens over the input; a Value is a view of one token. Both the
// input and the tokens must outlive every Value. Depth and number of tokens are bounded, and a
// string's claimed length is checked against the bytes that are there, so hostile input costs at
// most one token per two bytes.
//
// As real torrents and trackers break these rules and libtorrent reads them, parse() accepts:
// unsorted and duplicate dictionary keys (the first of equal keys wins), leading zeros, "-0", and
// bytes after the outermost value. is_canonical() tells; metainfo.cc demands it where BEP 52 does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::bencode {

enum class Kind : std::uint8_t { none, integer, string, list, dictionary };

// Why input was refused.
enum class Fault : std::uint8_t {
  none,
  truncated,        // the input ends inside a value
  unexpected_byte,  // no value begins with this byte, or a list was closed where none is open
  key_not_string,   // a dictionary's key
  value_missing,    // a dictionary ends after a key
  bad_integer,      // no digits, or something else among them
  integer_range,    // does not fit 64 bits
  bad_length,       // a string's length has something else among its digits, or too many of them
  too_deep,
  too_many_tokens,
  too_large,  // more input than offsets can address
};
[[nodiscard]] const char* describe(Fault fault);

// One value; internal to Value, but callers on the data path own the storage.
struct Token {
  std::uint32_t offset = 0;  // of the value's first byte in the input
  std::uint32_t end = 0;     // one past its last byte
  std::uint32_t next = 0;    // index of the token after this value and all it contains
  Kind kind = Kind::none;
  std::uint8_t header = 0;  // of a string: bytes before its contents
};
static_assert(sizeof(Token) == 16);

struct Limits {
  std::uint32_t depth_max = 100;  // nested lists and dictionaries; at most kDepthLimit
  std::uint32_t tokens_max = 1'000'000;
};
inline constexpr std::uint32_t kDepthLimit = 128;

// A view of one value, or of none (what a failed look-up gives; all its contents are empty).
class Value {
 public:
  Value() = default;
  Value(const std::byte* input, const Token* tokens, std::uint32_t index)
      : input_(input), tokens_(tokens), index_(index) {}

  [[nodiscard]] Kind kind() const { return tokens_ == nullptr ? Kind::none : token().kind; }
  explicit operator bool() const { return tokens_ != nullptr; }

  // The value's bytes in the input, prefix and suffix included.
  [[nodiscard]] std::span<const std::byte> raw() const;
  // Of a string; empty for any other kind.
  [[nodiscard]] std::string_view string() const;
  [[nodiscard]] std::span<const std::byte> bytes() const;
  // Of an integer; 0 for any other kind.
  [[nodiscard]] std::int64_t integer() const;

  // The first value with this key in a dictionary; none if there is none.
  [[nodiscard]] Value find(std::string_view key) const;
  // The same, but none when it is of another kind.
  [[nodiscard]] Value find(std::string_view key, Kind kind) const;
  [[nodiscard]] std::optional<std::int64_t> find_integer(std::string_view key) const;
  [[nodiscard]] std::string_view find_string(std::string_view key) const {
    return find(key, Kind::string).string();
  }

  // Walks a list's values, or a dictionary's keys and values in turn:
  //   for (Value v = list.first(); v; v = list.after(v)) …
  //   for (Value k = dict.first(); k; k = dict.after(v)) { v = dict.after(k); … }
  [[nodiscard]] Value first() const;
  [[nodiscard]] Value after(const Value& child) const;
  // A list's values, or a dictionary's keys. Linear.
  [[nodiscard]] std::uint32_t count() const;

 private:
  [[nodiscard]] const Token& token() const { return tokens_[index_]; }

  const std::byte* input_ = nullptr;
  const Token* tokens_ = nullptr;
  std::uint32_t index_ = 0;
};

struct ParseStatus {
  Fault fault = Fault::none;
  std::uint32_t position = 0;  // where the fault is; of success: one past the outermost value
  std::uint32_t tokens = 0;    // how many were used
};

// Parses one value into the caller's tokens; allocates nothing. More tokens than fit:
// too_many_tokens.
[[nodiscard]] ParseStatus parse_into(std::span<const std::byte> input, std::span<Token> tokens,
                                     std::uint32_t depth_max = 16);

// Owns tokens. The input is borrowed.
class Document {
 public:
  // Replaces what was parsed before.
  ParseStatus parse(std::span<const std::byte> input, const Limits& limits = {});
  // The outermost value; none unless the last parse succeeded.
  [[nodiscard]] Value root() const {
    return tokens_.empty() ? Value() : Value(input_, tokens_.data(), 0);
  }

 private:
  const std::byte* input_ = nullptr;
  std::vector<Token> tokens_;
};

// A value on the stack, for small messages: at most N tokens, no allocation.
template <std::uint32_t N>
class SmallDocument {
 public:
  ParseStatus parse(std::span<const std::byte> input) {
    input_ = input.data();
    const ParseStatus status = parse_into(input, tokens_);
    parsed_ = status.fault == Fault::none;
    return status;
  }
  [[nodiscard]] Value root() const { return parsed_ ? Value(input_, tokens_, 0) : Value(); }

 private:
  const std::byte* input_ = nullptr;
  bool parsed_ = false;
  Token tokens_[N];
};

// Keys sorted and unique, no leading zeros, no "-0", in this value and all that it contains.
[[nodiscard]] bool is_canonical(const Value& value);

// Appends canonical bencoding to a buffer. The caller writes keys in raw byte order and pairs
// begin with end; a breach of either is a programmer's error and asserts.
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  Writer& integer(std::int64_t value);
  Writer& string(std::string_view value);
  Writer& string(std::span<const std::byte> value);
  Writer& begin_list();
  Writer& begin_dictionary();
  Writer& end();
  Writer& key(std::string_view name);
  Writer& key(std::span<const std::byte> name);
  // A value that is bencoded already.
  Writer& raw(std::span<const std::byte> value);

 private:
  struct Frame {
    bool dictionary = false;
    bool value_due = false;  // a key was written, its value was not
    bool any_key = false;
    std::size_t key_begin = 0;  // the last key's bytes in out_
    std::size_t key_end = 0;
  };
  void value_follows();
  void append(std::string_view text);

  std::vector<std::byte>& out_;
  std::vector<Frame> frames_;
};

}  // namespace penstock::bencode
