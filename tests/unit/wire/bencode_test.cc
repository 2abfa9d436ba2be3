#include "wire/bencode.hh"

#include <gtest/gtest.h>

#include "bytes.hh"

namespace penstock::bencode {
namespace {

using test::to_bytes;
using test::to_text;

struct Parsed {
  std::vector<std::byte> bytes;
  Document document;
  ParseStatus status;

  explicit Parsed(std::string_view text, const Limits& limits = {}) : bytes(to_bytes(text)) {
    status = document.parse(bytes, limits);
  }
  [[nodiscard]] Value root() const { return document.root(); }
};

Fault fault_of(std::string_view text) {
  const Parsed parsed(text);
  EXPECT_EQ(parsed.status.fault == Fault::none, static_cast<bool>(parsed.root())) << text;
  return parsed.status.fault;
}

TEST(BencodeParse, scalars) {
  EXPECT_EQ(Parsed("i42e").root().integer(), 42);
  EXPECT_EQ(Parsed("i-42e").root().integer(), -42);
  EXPECT_EQ(Parsed("i0e").root().integer(), 0);
  EXPECT_EQ(Parsed("i9223372036854775807e").root().integer(), INT64_MAX);
  EXPECT_EQ(Parsed("i-9223372036854775808e").root().integer(), INT64_MIN);
  EXPECT_EQ(Parsed("0:").root().string(), "");
  EXPECT_EQ(Parsed("3:a:b").root().string(), "a:b");
  EXPECT_EQ(Parsed("0:").root().kind(), Kind::string);
}

TEST(BencodeParse, lists_and_dictionaries_are_walked) {
  const Parsed parsed("d1:ali1e2:xxle1:dde1:z0:ee");
  const Value root = parsed.root();
  ASSERT_EQ(root.kind(), Kind::dictionary);
  EXPECT_EQ(root.count(), 1u);
  const Value list = root.find("a", Kind::list);
  ASSERT_TRUE(list);
  std::vector<std::string> raw;
  for (Value v = list.first(); v; v = list.after(v))
    raw.emplace_back(to_text(v.raw()));
  EXPECT_EQ(raw, (std::vector<std::string>{"i1e", "2:xx", "le", "1:d", "de", "1:z", "0:"}));
}

TEST(BencodeParse, find_looks_only_at_its_own_level) {
  const Parsed parsed("d1:ad1:bi1ee1:bi2e1:ci3ee");
  EXPECT_EQ(parsed.root().find_integer("b"), 2);
  EXPECT_EQ(parsed.root().find("a").find_integer("b"), 1);
  EXPECT_FALSE(parsed.root().find("d"));
  EXPECT_FALSE(parsed.root().find("c", Kind::string));
  EXPECT_EQ(parsed.root().find_string("c"), "");
}

TEST(BencodeParse, a_look_up_that_failed_can_be_asked_on) {
  const Value none;
  EXPECT_FALSE(none.find("a").find("b").first());
  EXPECT_EQ(none.integer(), 0);
  EXPECT_TRUE(none.string().empty());
  EXPECT_TRUE(none.raw().empty());
  EXPECT_EQ(none.count(), 0u);
}

TEST(BencodeParse, raw_is_the_value_as_it_stands) {
  const Parsed parsed("d4:infod6:lengthi5ee1:xi1ee");
  EXPECT_EQ(to_text(parsed.root().find("info").raw()), "d6:lengthi5ee");
}

TEST(BencodeParse, bytes_after_the_value_are_left) {
  const Parsed parsed("i1eGARBAGE");
  EXPECT_EQ(parsed.status.fault, Fault::none);
  EXPECT_EQ(parsed.status.position, 3u);
}

TEST(BencodeParse, what_libtorrent_reads_too) {
  EXPECT_EQ(Parsed("i007e").root().integer(), 7);
  EXPECT_EQ(Parsed("i-0e").root().integer(), 0);
  EXPECT_EQ(Parsed("03:abc").root().string(), "abc");
  EXPECT_EQ(Parsed("d1:bi1e1:ai2ee").root().find_integer("a"), 2);
  EXPECT_EQ(Parsed("d1:ai1e1:ai2ee").root().find_integer("a"), 1);  // the first one counts
}

TEST(BencodeParse, faults) {
  struct Case {
    const char* text;
    Fault fault;
  };
  const Case cases[] = {
      {"", Fault::truncated},
      {"i", Fault::truncated},
      {"i1", Fault::truncated},
      {"i-", Fault::truncated},
      {"l", Fault::truncated},
      {"d", Fault::truncated},
      {"d1:a", Fault::truncated},
      {"d1:ai1e", Fault::truncated},
      {"5:abcd", Fault::truncated},
      {"5", Fault::truncated},
      {"1:", Fault::truncated},
      {"99999999999:a", Fault::truncated},
      {"18446744073709551617:a", Fault::truncated},
      {"e", Fault::unexpected_byte},
      {"x", Fault::unexpected_byte},
      {"lxe", Fault::unexpected_byte},
      {"l-1:ae", Fault::unexpected_byte},
      {"di1ei2ee", Fault::key_not_string},
      {"dlei1ee", Fault::key_not_string},
      {"d1:ae", Fault::value_missing},
      {"ie", Fault::bad_integer},
      {"i-e", Fault::bad_integer},
      {"i+1e", Fault::bad_integer},
      {"i1.0e", Fault::bad_integer},
      {"i 1e", Fault::bad_integer},
      {"i--1e", Fault::bad_integer},
      {"i9223372036854775808e", Fault::integer_range},
      {"i-9223372036854775809e", Fault::integer_range},
      {"i000000000000000000001e", Fault::integer_range},
      {"1a", Fault::bad_length},
      {"0000000000000000000001:a", Fault::bad_length},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(fault_of(c.text), c.fault) << c.text;
    EXPECT_NE(describe(c.fault), nullptr);
  }
}

TEST(BencodeParse, every_prefix_of_a_value_is_truncated) {
  const std::string whole = "d4:infod5:filesld6:lengthi5e4:pathl1:a1:beee4:name3:abce1:xi-5ee";
  EXPECT_EQ(fault_of(whole), Fault::none);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_EQ(fault_of(whole.substr(0, n)), Fault::truncated) << n;
  }
}

TEST(BencodeParse, depth_and_tokens_are_bounded) {
  const std::string nested = std::string(50, 'l') + std::string(50, 'e');
  EXPECT_EQ(Parsed(nested, {.depth_max = 50}).status.fault, Fault::none);
  EXPECT_EQ(Parsed(nested, {.depth_max = 49}).status.fault, Fault::too_deep);
  EXPECT_EQ(Parsed(std::string(100'000, 'l')).status.fault, Fault::too_deep);
  EXPECT_EQ(Parsed("l0:0:0:e", {.tokens_max = 4}).status.fault, Fault::none);
  EXPECT_EQ(Parsed("l0:0:0:e", {.tokens_max = 3}).status.fault, Fault::too_many_tokens);
  EXPECT_EQ(Parsed("li1ei2ee", {.tokens_max = 2}).status.fault, Fault::too_many_tokens);
  EXPECT_EQ(Parsed("lllee", {.tokens_max = 2}).status.fault, Fault::too_many_tokens);
}

TEST(BencodeParse, into_the_callers_tokens) {
  const auto bytes = to_bytes("d1:ai1ee");
  std::array<Token, 3> tokens;
  const ParseStatus status = parse_into(bytes, tokens);
  ASSERT_EQ(status.fault, Fault::none);
  EXPECT_EQ(status.tokens, 3u);
  EXPECT_EQ(Value(bytes.data(), tokens.data(), 0).find_integer("a"), 1);
  EXPECT_EQ(parse_into(bytes, std::span(tokens).first(2)).fault, Fault::too_many_tokens);
}

TEST(BencodeCanonical, tells) {
  for (const char* text : {"i0e", "i-1e", "0:", "10:0123456789", "le", "de", "d1:ai1e1:bi2ee",
                           "d1:ai1e2:aai2ee", "d0:i1e1:\x7fi1e1:\x80i1ee"}) {
    EXPECT_TRUE(is_canonical(Parsed(text).root())) << text;
  }
  for (const char* text :
       {"i01e", "i-0e", "i-01e", "00:", "01:a", "d1:bi1e1:ai2ee", "d1:ai1e1:ai2ee",
        "d2:aai1e1:ai2ee", "li01ee", "d1:ad1:bi1e1:bi1eee", "d1:\x80i1e1:\x7fi1ee", "d01:ai1ee"}) {
    EXPECT_FALSE(is_canonical(Parsed(text).root())) << text;
  }
  EXPECT_FALSE(is_canonical(Value()));
}

TEST(BencodeWriter, golden) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.begin_dictionary();
  writer.key("a").integer(-5);
  writer.key("ab").begin_list().string("x").begin_dictionary().end().integer(0).end();
  writer.key("b").string("");
  writer.key("c").raw(to_bytes("i7e"));
  writer.end();
  EXPECT_EQ(to_text(out), "d1:ai-5e2:abl1:xdei0ee1:b0:1:ci7ee");
  EXPECT_TRUE(is_canonical(Parsed(to_text(out)).root()));
}

TEST(BencodeWriterDeathTest, unsorted_keys_are_a_programmers_error) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.begin_dictionary().key("b").integer(1);
  EXPECT_DEATH(writer.key("a"), "assertion failed");
  EXPECT_DEATH(writer.key("b"), "assertion failed");
  EXPECT_DEATH(writer.integer(1), "assertion failed");
}

}  // namespace
}  // namespace penstock::bencode
