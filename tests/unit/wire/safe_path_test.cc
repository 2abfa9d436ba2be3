#include "wire/safe_path.hh"

#include <gtest/gtest.h>

#include "wire/utf8.hh"

namespace penstock {
namespace {

std::string safe(std::string_view component, std::string path = "") {
  append_safe_component(path, component);
  return path;
}

std::vector<std::string> resolved(std::vector<std::string> paths) {
  std::vector<std::string*> pointers;
  for (std::string& path : paths)
    pointers.push_back(&path);
  resolve_clashes(pointers);
  return paths;
}

TEST(Utf8, decodes_and_skips) {
  struct Case {
    std::string_view text;
    std::int32_t value;
    std::uint32_t length;
  };
  const Case cases[] = {
      {"a", 'a', 1},
      {"\xc3\xa9", 0xe9, 2},
      {"\xe2\x82\xac", 0x20ac, 3},
      {"\xf0\x9f\x98\x80", 0x1f600, 4},
      {"\xf4\x8f\xbf\xbf", 0x10ffff, 4},
      {"\x80", -1, 1},  // a continuation first
      {"\xff", -1, 1},
      {"\xc3", -1, 1},  // cut off
      {"\xe2\x82", -1, 2},
      {"\xc0\xaf", -1, 2},  // overlong '/'
      {"\xe0\x80\xaf", -1, 3},
      {"\xf0\x80\x80\xaf", -1, 4},
      {"\xed\xa0\x80", -1, 3},      // a surrogate
      {"\xf4\x90\x80\x80", -1, 4},  // beyond U+10FFFF
      {"\xc3zz", -1, 2},            // skipped by the length that was announced
      {"\xf8\x88\x80\x80\x80", -1, 5},
  };
  for (const Case& c : cases) {
    const CodePoint point = decode_utf8(c.text);
    EXPECT_EQ(point.value, c.value) << c.text;
    EXPECT_EQ(point.length, c.length) << c.text;
  }
}

TEST(Utf8, mends) {
  EXPECT_EQ(mend_utf8("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(mend_utf8("caf\xe9"), "caf_");
  EXPECT_EQ(mend_utf8(""), "");
  EXPECT_TRUE(is_utf8("caf\xc3\xa9"));
  EXPECT_FALSE(is_utf8("caf\xe9"));
}

TEST(SafePath, ordinary_names_stay) {
  EXPECT_EQ(safe("a.txt"), "a.txt");
  EXPECT_EQ(safe("b", "a"), "a/b");
  EXPECT_EQ(safe("..."), "...");
  EXPECT_EQ(safe(".hidden"), ".hidden");
  EXPECT_EQ(safe("a b:c*?\"<>|"), "a b:c*?\"<>|");
  EXPECT_EQ(safe("\xe6\x97\xa5\xe6\x9c\xac"), "\xe6\x97\xa5\xe6\x9c\xac");
}

TEST(SafePath, nothing_leads_out) {
  EXPECT_EQ(safe(".", "a"), "a");
  EXPECT_EQ(safe("..", "a"), "a");
  EXPECT_EQ(safe("..", ""), "");
  EXPECT_EQ(safe("/..", "a"), "a");
  EXPECT_EQ(safe("../", "a"), "a");
  EXPECT_EQ(safe("..\\", "a"), "a");
  EXPECT_EQ(safe(std::string_view("..\0", 3), "a"), "a");
  EXPECT_EQ(safe("..\xe2\x80\x8e", "a"), "a");
  EXPECT_EQ(safe("/", "a"), "a");
  EXPECT_EQ(safe("/etc/passwd"), "etcpasswd");
  EXPECT_EQ(safe("../../etc"), "....etc");
  EXPECT_EQ(safe("a\\b"), "ab");
}

TEST(SafePath, what_a_name_must_not_hold_is_replaced_or_dropped) {
  EXPECT_EQ(safe("", "a"), "a/_");
  EXPECT_EQ(safe(""), "_");
  EXPECT_EQ(safe("a\nb\x1f"), "a_b_");
  EXPECT_EQ(safe(std::string_view("a\0b", 3)), "ab");
  EXPECT_EQ(safe("caf\xe9"), "caf_");
  EXPECT_EQ(safe("exe\xe2\x80\xaetxt"), "exetxt");
}

TEST(SafePath, long_names_are_cut_and_keep_their_extension) {
  EXPECT_EQ(safe(std::string(239, 'a')), std::string(239, 'a'));
  EXPECT_EQ(safe(std::string(300, 'a')), std::string(240, 'a'));
  EXPECT_EQ(safe(std::string(300, 'a') + ".tar"), std::string(240, 'a') + ".tar");
  // An extension that is too long, or inside of what was kept, is none.
  EXPECT_EQ(safe(std::string(300, 'a') + ".extension-no"), std::string(240, 'a'));
  EXPECT_EQ(safe(std::string(100, 'a') + "." + std::string(200, 'b')).size(), 240u);
}

TEST(SafePath, what_is_replaced_counts_too) {
  EXPECT_EQ(safe(std::string(1000, '\xff')), std::string(240, '_'));
  EXPECT_EQ(safe(std::string(1000, '\x01') + ".a"), std::string(240, '_') + ".a");
}

TEST(Clashes, a_number_does_not_make_a_name_too_long) {
  const std::string name = std::string(244, 'x') + ".extension";
  EXPECT_EQ(resolved({"d/" + name, "d/" + name})[1], "d/" + std::string(243, 'x') + ".1.extension");
  std::string wide;
  while (wide.size() < 254)
    wide += "\xc3\xa9";
  EXPECT_EQ(resolved({wide, wide})[1], wide.substr(0, 252) + ".1");
}

TEST(Clashes, none) {
  const std::vector<std::string> paths{"a", "b/a", "b/b", "A", "c.txt"};
  EXPECT_EQ(resolved(paths), paths);
}

TEST(Clashes, repeated_names_are_numbered_before_the_extension) {
  EXPECT_EQ(resolved({"d/a.txt", "d/a.txt", "d/a.txt"}),
            (std::vector<std::string>{"d/a.txt", "d/a.1.txt", "d/a.2.txt"}));
  EXPECT_EQ(resolved({"a", "a"}), (std::vector<std::string>{"a", "a.1"}));
  EXPECT_EQ(resolved({".x", ".x"}), (std::vector<std::string>{".x", ".x.1"}));
  EXPECT_EQ(resolved({"a.b/c", "a.b/c"}), (std::vector<std::string>{"a.b/c", "a.b/c.1"}));
}

TEST(Clashes, a_number_that_is_taken_is_passed_over) {
  EXPECT_EQ(resolved({"a", "a", "a.1"}), (std::vector<std::string>{"a", "a.2", "a.1"}));
}

TEST(Clashes, a_file_gives_way_to_a_directory) {
  EXPECT_EQ(resolved({"a", "a/b"}), (std::vector<std::string>{"a.1", "a/b"}));
  EXPECT_EQ(resolved({"a/b/c/d", "a/b"}), (std::vector<std::string>{"a/b/c/d", "a/b.1"}));
  EXPECT_EQ(resolved({"a", "a/b", "a.1/c"}), (std::vector<std::string>{"a.2", "a/b", "a.1/c"}));
}

TEST(Clashes, padding_takes_no_part) {
  std::string file = "a";
  std::string other = "a";
  std::string* paths[] = {&file, nullptr, &other};
  resolve_clashes(paths);
  EXPECT_EQ(other, "a.1");
}

TEST(Clashes, many_of_one_name_cost_no_more_than_many_names) {
  std::vector<std::string> paths(100'000, "d/same.bin");
  paths = resolved(std::move(paths));
  EXPECT_EQ(paths.front(), "d/same.bin");
  EXPECT_EQ(paths.back(), "d/same.99999.bin");
}

}  // namespace
}  // namespace penstock
