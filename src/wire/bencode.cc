#include "wire/bencode.hh"

#include <array>
#include <charconv>
#include <cstring>
#include <limits>

#include "base/assert.hh"

namespace penstock::bencode {
namespace {

constexpr bool is_digit(std::byte b) {
  return b >= std::byte{'0'} && b <= std::byte{'9'};
}

// A string's length has at most this many digits: 64 bits and a few leading zeros.
constexpr std::uint32_t kLengthDigitsMax = 20;
// "-" and the 19 digits of 2^63, and a leading zero.
constexpr std::uint32_t kIntegerDigitsMax = 20;

struct Store {
  virtual Token* push() = 0;  // null: no room
  virtual Token* at(std::uint32_t index) = 0;

 protected:
  ~Store() = default;
};

struct FixedStore final : Store {
  std::span<Token> tokens;
  std::uint32_t used = 0;
  Token* push() override { return used < tokens.size() ? &tokens[used++] : nullptr; }
  Token* at(std::uint32_t index) override { return &tokens[index]; }
};

struct GrowingStore final : Store {
  std::vector<Token>* tokens = nullptr;
  std::uint32_t limit = 0;
  Token* push() override {
    if (tokens->size() >= limit) return nullptr;
    return &tokens->emplace_back();
  }
  Token* at(std::uint32_t index) override { return &(*tokens)[index]; }
};

// Iterative: the stack holds the open containers' tokens.
class Parser {
 public:
  Parser(std::span<const std::byte> input, Store& store, std::uint32_t depth_max)
      : input_(input), store_(store), depth_max_(depth_max) {}

  ParseStatus run() {
    if (input_.size() >= std::numeric_limits<std::uint32_t>::max()) {
      return {Fault::too_large, 0, 0};
    }
    Fault fault = Fault::none;
    do {
      fault = step();
    } while (fault == Fault::none && depth_ > 0);
    return {fault, position_, used_};
  }

 private:
  struct Open {
    std::uint32_t token;
    bool dictionary;
    bool value_due;
  };

  Fault step() {
    if (position_ >= input_.size()) return Fault::truncated;
    const std::byte b = input_[position_];
    Open* const parent = depth_ > 0 ? &stack_[depth_ - 1] : nullptr;
    if (b == std::byte{'e'}) return close(parent);
    if (parent != nullptr && parent->dictionary) {
      if (!parent->value_due && !is_digit(b)) return Fault::key_not_string;
      parent->value_due = !parent->value_due;
    }
    if (b == std::byte{'d'} || b == std::byte{'l'}) return open(b == std::byte{'d'});
    if (b == std::byte{'i'}) return integer();
    if (is_digit(b)) return string();
    return Fault::unexpected_byte;
  }

  Fault close(const Open* parent) {
    if (parent == nullptr) return Fault::unexpected_byte;
    if (parent->value_due) return Fault::value_missing;
    ++position_;
    Token* const token = store_.at(parent->token);
    token->end = position_;
    token->next = used_;
    --depth_;
    return Fault::none;
  }

  Fault open(bool dictionary) {
    if (depth_ >= depth_max_) return Fault::too_deep;
    Token* const token = store_.push();
    if (token == nullptr) return Fault::too_many_tokens;
    *token = {position_, 0, 0, dictionary ? Kind::dictionary : Kind::list, 0};
    stack_[depth_++] = {used_, dictionary, false};
    ++used_;
    ++position_;
    return Fault::none;
  }

  Fault integer() {
    const std::uint32_t begin = position_;
    std::uint32_t p = begin + 1;
    const auto size = static_cast<std::uint32_t>(input_.size());
    const bool negative = p < size && input_[p] == std::byte{'-'};
    if (negative) ++p;
    const std::uint32_t digits = p;
    std::uint64_t magnitude = 0;
    const std::uint64_t most =
        static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) + (negative ? 1 : 0);
    while (p < size && is_digit(input_[p])) {
      const auto digit = static_cast<std::uint64_t>(input_[p]) - '0';
      if (p - digits >= kIntegerDigitsMax || magnitude > (most - digit) / 10) {
        position_ = p;
        return Fault::integer_range;
      }
      magnitude = magnitude * 10 + digit;
      ++p;
    }
    position_ = p;
    if (p >= size) return Fault::truncated;
    if (p == digits || input_[p] != std::byte{'e'}) return Fault::bad_integer;
    ++position_;
    return push_scalar(begin, Kind::integer, 0);
  }

  Fault string() {
    const std::uint32_t begin = position_;
    std::uint32_t p = begin;
    const auto size = static_cast<std::uint32_t>(input_.size());
    std::uint64_t length = 0;
    while (p < size && is_digit(input_[p])) {
      if (p - begin >= kLengthDigitsMax) return Fault::bad_length;
      length = length * 10 + (static_cast<std::uint64_t>(input_[p]) - '0');
      // No length beyond the input can be honest, and so `length` never overflows.
      if (length > size) return Fault::truncated;
      ++p;
    }
    if (p >= size) return Fault::truncated;
    if (input_[p] != std::byte{':'}) {
      position_ = p;
      return Fault::bad_length;
    }
    ++p;
    if (length > size - p) return Fault::truncated;
    position_ = p + static_cast<std::uint32_t>(length);
    return push_scalar(begin, Kind::string, static_cast<std::uint8_t>(p - begin));
  }

  Fault push_scalar(std::uint32_t begin, Kind kind, std::uint8_t header) {
    Token* const token = store_.push();
    if (token == nullptr) return Fault::too_many_tokens;
    ++used_;
    *token = {begin, position_, used_, kind, header};
    return Fault::none;
  }

  std::span<const std::byte> input_;
  Store& store_;
  std::uint32_t depth_max_;
  std::uint32_t position_ = 0;
  std::uint32_t used_ = 0;
  std::uint32_t depth_ = 0;
  std::array<Open, kDepthLimit> stack_;
};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool canonical_scalar(const Value& value) {
  const std::string_view raw = as_text(value.raw());
  if (value.kind() == Kind::string) return raw[0] != '0' || raw[1] == ':';
  if (raw[1] == '-') return raw[2] != '0';
  return raw[1] != '0' || raw[2] == 'e';
}

}  // namespace

const char* describe(Fault fault) {
  switch (fault) {
    case Fault::none:
      return "no fault";
    case Fault::truncated:
      return "ends inside a value";
    case Fault::unexpected_byte:
      return "no value begins like this";
    case Fault::key_not_string:
      return "a dictionary's key is not a string";
    case Fault::value_missing:
      return "a dictionary's key has no value";
    case Fault::bad_integer:
      return "not an integer";
    case Fault::integer_range:
      return "an integer does not fit 64 bits";
    case Fault::bad_length:
      return "a string's length is not a number";
    case Fault::too_deep:
      return "nested too deeply";
    case Fault::too_many_tokens:
      return "too many values";
    case Fault::too_large:
      return "too large";
  }
  UNREACHABLE();
}

std::span<const std::byte> Value::raw() const {
  if (tokens_ == nullptr) return {};
  return {input_ + token().offset, token().end - token().offset};
}

std::span<const std::byte> Value::bytes() const {
  if (kind() != Kind::string) return {};
  const std::uint32_t begin = token().offset + token().header;
  return {input_ + begin, token().end - begin};
}

std::string_view Value::string() const {
  return as_text(bytes());
}

std::int64_t Value::integer() const {
  if (kind() != Kind::integer) return 0;
  const std::string_view digits = as_text(raw());
  std::int64_t value = 0;
  // The parser has checked digits and range.
  std::from_chars(digits.data() + 1, digits.data() + digits.size() - 1, value);
  return value;
}

Value Value::find(std::string_view key) const {
  if (kind() != Kind::dictionary) return {};
  for (Value k = first(); k;) {
    const Value v = after(k);
    if (k.string() == key) return v;
    k = after(v);
  }
  return {};
}

Value Value::find(std::string_view key, Kind wanted) const {
  const Value value = find(key);
  return value.kind() == wanted ? value : Value();
}

std::optional<std::int64_t> Value::find_integer(std::string_view key) const {
  const Value value = find(key, Kind::integer);
  if (!value) return std::nullopt;
  return value.integer();
}

Value Value::first() const {
  if (kind() != Kind::list && kind() != Kind::dictionary) return {};
  if (token().next == index_ + 1) return {};
  return {input_, tokens_, index_ + 1};
}

Value Value::after(const Value& child) const {
  const std::uint32_t next = child.token().next;
  if (next >= token().next) return {};
  return {input_, tokens_, next};
}

std::uint32_t Value::count() const {
  std::uint32_t n = 0;
  for (Value v = first(); v; v = after(v))
    ++n;
  return kind() == Kind::dictionary ? n / 2 : n;
}

ParseStatus parse_into(std::span<const std::byte> input, std::span<Token> tokens,
                       std::uint32_t depth_max) {
  ASSERT(depth_max <= kDepthLimit);
  FixedStore store;
  store.tokens = tokens;
  return Parser(input, store, depth_max).run();
}

ParseStatus Document::parse(std::span<const std::byte> input, const Limits& limits) {
  ASSERT(limits.depth_max <= kDepthLimit);
  input_ = input.data();
  tokens_.clear();
  GrowingStore store;
  store.tokens = &tokens_;
  store.limit = limits.tokens_max;
  const ParseStatus status = Parser(input, store, limits.depth_max).run();
  if (status.fault != Fault::none) tokens_.clear();
  return status;
}

bool is_canonical(const Value& value) {
  switch (value.kind()) {
    case Kind::none:
      return false;
    case Kind::integer:
    case Kind::string:
      return canonical_scalar(value);
    case Kind::list:
      for (Value v = value.first(); v; v = value.after(v)) {
        if (!is_canonical(v)) return false;
      }
      return true;
    case Kind::dictionary:
      break;
  }
  std::optional<std::string_view> last;
  for (Value k = value.first(); k;) {
    const Value v = value.after(k);
    // char_traits<char> compares as unsigned bytes, which is the order of BEP 3.
    if (last && !(*last < k.string())) return false;
    if (!canonical_scalar(k) || !is_canonical(v)) return false;
    last = k.string();
    k = value.after(v);
  }
  return true;
}

void Writer::value_follows() {
  if (frames_.empty()) return;
  Frame& frame = frames_.back();
  ASSERT(!frame.dictionary || frame.value_due);
  frame.value_due = false;
}

void Writer::append(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  out_.insert(out_.end(), begin, begin + text.size());
}

Writer& Writer::integer(std::int64_t value) {
  value_follows();
  char digits[24];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  ASSERT(error == std::errc{});
  append("i");
  append({digits, static_cast<std::size_t>(end - digits)});
  append("e");
  return *this;
}

Writer& Writer::string(std::string_view value) {
  value_follows();
  char digits[24];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value.size());
  ASSERT(error == std::errc{});
  append({digits, static_cast<std::size_t>(end - digits)});
  append(":");
  append(value);
  return *this;
}

Writer& Writer::string(std::span<const std::byte> value) {
  return string(as_text(value));
}

Writer& Writer::begin_list() {
  value_follows();
  append("l");
  frames_.push_back({});
  return *this;
}

Writer& Writer::begin_dictionary() {
  value_follows();
  append("d");
  frames_.push_back({.dictionary = true});
  return *this;
}

Writer& Writer::end() {
  ASSERT(!frames_.empty() && !frames_.back().value_due);
  append("e");
  frames_.pop_back();
  return *this;
}

Writer& Writer::key(std::string_view name) {
  ASSERT(!frames_.empty() && frames_.back().dictionary && !frames_.back().value_due);
  Frame& frame = frames_.back();
  if (frame.any_key) {
    const std::span<const std::byte> last(out_.data() + frame.key_begin,
                                          frame.key_end - frame.key_begin);
    ASSERT(as_text(last) < name);
  }
  frame.value_due = true;  // also lets string() pass
  string(name);
  frame.value_due = true;
  frame.any_key = true;
  frame.key_end = out_.size();
  frame.key_begin = out_.size() - name.size();
  return *this;
}

Writer& Writer::key(std::span<const std::byte> name) {
  return key(as_text(name));
}

Writer& Writer::raw(std::span<const std::byte> value) {
  value_follows();
  out_.insert(out_.end(), value.begin(), value.end());
  return *this;
}

}  // namespace penstock::bencode
