#include "wire/metainfo.hh"

#include <gtest/gtest.h>

#include "bytes.hh"

namespace penstock {
namespace {

using test::to_bytes;
using test::to_text;

std::string s(std::string_view text) {
  return std::to_string(text.size()) + ":" + std::string(text);
}
std::string i(std::int64_t value) {
  return "i" + std::to_string(value) + "e";
}

// An info dictionary from its parts; those that are empty are left out.
struct Info {
  std::string files, length, name = s("t"), piece_length = i(16384), pieces, tree, version, more;

  [[nodiscard]] std::string text() const {
    const auto part = [](const char* key, const std::string& value) {
      return value.empty() ? std::string() : s(key) + value;
    };
    return "d" + part("file tree", tree) + part("files", files) + part("length", length) +
           part("meta version", version) + part("name", name) + part("piece length", piece_length) +
           part("pieces", pieces) + more + "e";
  }
};

std::string pieces(std::size_t n) {
  return s(std::string(20 * n, 'h'));
}
std::string v1_file(std::int64_t length, std::string_view path_list, std::string_view attr = "") {
  return "d" + (attr.empty() ? "" : s("attr") + s(attr)) + s("length") + i(length) + s("path") +
         "l" + std::string(path_list) + "e" + "e";
}
// A leaf of a file tree.
std::string leaf(std::int64_t length, char root = 'r', std::string_view attr = "") {
  std::string text = "d0:d" + (attr.empty() ? "" : s("attr") + s(attr)) + s("length") + i(length);
  if (root != 0) text += s("pieces root") + s(std::string(32, root));
  return text + "ee";
}

Info v1_single() {
  Info info;
  info.length = i(20000);
  info.pieces = pieces(2);
  return info;
}
Info v1_multi(std::string files, std::size_t piece_count) {
  Info info;
  info.files = "l" + std::move(files) + "e";
  info.pieces = pieces(piece_count);
  return info;
}
Info v2_only(std::string tree) {
  Info info;
  info.tree = "d" + std::move(tree) + "e";
  info.version = i(2);
  return info;
}

std::string torrent(const Info& info, std::string_view before = "", std::string_view after = "") {
  return "d" + std::string(before) + s("info") + info.text() + std::string(after) + "e";
}
Result<Metainfo> parse(const std::string& text, const MetainfoLimits& limits = {}) {
  return parse_metainfo(to_bytes(text), limits);
}
Result<Metainfo> parse(const Info& info) {
  return parse(torrent(info));
}
std::vector<std::string> paths(const Result<Metainfo>& metainfo) {
  std::vector<std::string> out;
  if (!metainfo) return {"refused: " + metainfo.error().message};
  for (const FileEntry& file : metainfo->files)
    out.push_back(file.path);
  return out;
}
// Refused, and the message names what is wrong.
void expect_refused(const Result<Metainfo>& metainfo, std::string_view word) {
  ASSERT_FALSE(metainfo) << "accepted, but expected: " << word;
  EXPECT_NE(metainfo.error().message.find(word), std::string::npos) << metainfo.error().message;
  EXPECT_EQ(metainfo.error().kind, ErrorKind::usage);
}

using Paths = std::vector<std::string>;

TEST(MetainfoV1, single_file) {
  const auto m = parse(v1_single());
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ(m->name, "t");
  EXPECT_TRUE(m->single_file);
  EXPECT_TRUE(m->has_v1);
  EXPECT_FALSE(m->has_v2);
  EXPECT_EQ(m->blocks.total_size, 20000u);
  EXPECT_EQ(m->blocks.piece_count(), 2u);
  ASSERT_EQ(m->files.size(), 1u);
  EXPECT_EQ(m->files[0].path, "t");
  EXPECT_EQ(m->files[0].length, 20000u);
  EXPECT_EQ(m->v1_pieces.size(), 2u);
  EXPECT_EQ(m->v1_pieces[1].bytes[19], std::byte{'h'});
  EXPECT_FALSE(m->piece_layers_missing);
  EXPECT_EQ(to_text(m->info_bytes), v1_single().text());
  EXPECT_TRUE(m->wire_hash().is_zero());  // nobody has hashed it yet
}

TEST(MetainfoV1, multi_file_offsets_padding_and_attributes) {
  const auto m = parse(v1_multi(v1_file(5, s("a") + s("b.txt"), "x") +
                                    v1_file(16379, s(".pad") + s("16379"), "p") +
                                    v1_file(0, s("empty"), "h") + v1_file(1, s("c")),
                                2));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_FALSE(m->single_file);
  EXPECT_EQ(paths(m), (Paths{"a/b.txt", ".pad/16379", "empty", "c"}));
  EXPECT_TRUE(m->files[0].executable);
  EXPECT_TRUE(m->files[1].padding);
  EXPECT_EQ(m->files[1].offset, 5u);
  EXPECT_TRUE(m->files[2].hidden);
  EXPECT_EQ(m->files[3].offset, 16384u);
  EXPECT_EQ(m->blocks.total_size, 16385u);
}

TEST(MetainfoV1, padding_without_a_path_and_of_bitcomet) {
  const std::string pathless = "d" + s("attr") + s("p") + s("length") + i(7) + "e";
  const auto m = parse(
      v1_multi(v1_file(1, s("a")) + pathless + v1_file(8, s("_____padding_file_0_hello____")), 1));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ(m->files[1].path, ".pad/7");
  EXPECT_TRUE(m->files[1].padding && m->files[2].padding);
}

TEST(MetainfoV1, a_folder_with_one_file_is_no_single_file) {
  const auto m = parse(v1_multi(v1_file(1, s("a")), 1));
  ASSERT_TRUE(m);
  EXPECT_FALSE(m->single_file);
  EXPECT_EQ(paths(m), Paths{"a"});
}

TEST(MetainfoV1, legacy_encodings) {
  Info info = v1_multi("d" + s("length") + i(1) + s("path") + "l" + s("\x8c\xbf") + "e" +
                           s("path.utf-8") + "l" + s("\xe6\x9c\x88") + "ee",
                       1);
  info.name = s("\x8c\xbf") + s("name.utf-8") + s("\xe6\x97\xa5");
  const auto m = parse(info);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ(m->name, "\xe6\x97\xa5");
  EXPECT_EQ(paths(m), Paths{"\xe6\x9c\x88"});
}

TEST(MetainfoV1, no_path_leaves_its_directory) {
  const auto m = parse(v1_multi(v1_file(1, s("..") + s("..") + s("etc") + s("passwd")) +
                                    v1_file(1, s("/") + s("abs")) + v1_file(1, s("a/../../b")) +
                                    v1_file(1, s("..")) + v1_file(1, s("c\\..\\d")) +
                                    v1_file(1, s(std::string_view("n\0ul", 4))),
                                1));
  EXPECT_EQ(paths(m), (Paths{"etc/passwd", "abs", "a....b", "_", "c..d", "nul"}));
}

TEST(MetainfoV1, names_that_clash_get_numbers) {
  const auto m =
      parse(v1_multi(v1_file(1, s("a.txt")) + v1_file(1, s("a.txt")) + v1_file(1, s("d")) +
                         v1_file(1, s("d") + s("e")) + v1_file(1, s("A.txt")),
                     1));
  EXPECT_EQ(paths(m), (Paths{"a.txt", "a.1.txt", "d.1", "d/e", "A.txt"}));
}

TEST(MetainfoV1, symlinks) {
  const auto link = [](std::string_view path, std::string_view target) {
    return "d" + s("attr") + s("l") + s("length") + i(99) + s("path") + "l" + std::string(path) +
           "e" + (target.empty() ? "" : s("symlink path") + "l" + std::string(target) + "e") + "e";
  };
  const auto m =
      parse(v1_multi(v1_file(1, s("d") + s("real")) + link(s("good"), s("d") + s("real")) +
                         link(s("d") + s("beside"), s("real")) + link(s("dir"), s("d")) +
                         link(s("out"), s("..") + s("etc")) + link(s("nowhere"), "") +
                         link(s("abs"), s("/etc/passwd")),
                     1));
  ASSERT_TRUE(m) << m.error().message;
  const auto& f = m->files;
  EXPECT_EQ(f[1].symlink_target, "d/real");
  EXPECT_EQ(f[1].length, 0u);
  EXPECT_EQ(f[2].symlink_target, "d/real");
  EXPECT_EQ(f[3].symlink_target, "d");
  EXPECT_TRUE(f[4].symlink && f[4].symlink_target.empty());
  EXPECT_FALSE(f[5].symlink);
  EXPECT_TRUE(f[6].symlink && f[6].symlink_target.empty());
  EXPECT_EQ(m->blocks.total_size, 1u);
}

TEST(MetainfoV1, wrong_parts_are_refused) {
  struct Case {
    std::string Info::*part;
    std::string value;
    const char* word;
  };
  const Case cases[] = {
      {&Info::name, "", "name"},
      {&Info::name, i(1), "name"},
      {&Info::name, s(""), "name"},
      {&Info::name, s(".."), "name"},
      {&Info::name, s("/"), "name"},
      {&Info::piece_length, "", "piece length"},
      {&Info::piece_length, i(0), "piece length"},
      {&Info::piece_length, i(-1), "piece length"},
      {&Info::piece_length, i(INT64_MAX), "piece length"},
      {&Info::piece_length, i((1 << 29) + 1), "piece length"},
      {&Info::piece_length, s("16384"), "piece length"},
      {&Info::length, "", "length"},
      {&Info::length, i(-1), "length"},
      {&Info::length, i(0), "contents"},
      {&Info::length, i(INT64_MAX), "length"},
      {&Info::length, i(std::int64_t{1} << 48), "length"},
      {&Info::length, i((std::int64_t{1} << 48) - 1), "pieces"},
      {&Info::length, s("20000"), "length"},
      {&Info::pieces, "", "pieces"},
      {&Info::pieces, pieces(1), "pieces"},
      {&Info::pieces, pieces(3), "pieces"},
      {&Info::pieces, s(std::string(39, 'h')), "pieces"},
      {&Info::pieces, i(40), "pieces"},
      {&Info::tree, "d1:a" + leaf(1) + "e", "meta version"},
      {&Info::version, i(3), "meta version"},
  };
  for (const Case& c : cases) {
    Info info = v1_single();
    info.*c.part = c.value;
    SCOPED_TRACE(c.value);
    expect_refused(parse(info), c.word);
  }
}

TEST(MetainfoV1, wrong_files_are_refused) {
  expect_refused(parse(v1_multi("", 0)), "no files");
  expect_refused(parse(v1_multi(v1_file(0, s("a")), 0)), "contents");
  expect_refused(parse(v1_multi(i(1), 1)), "files[0]");
  expect_refused(parse(v1_multi(v1_file(-5, s("a")), 1)), "negative");
  expect_refused(parse(v1_multi(v1_file(1, s("a")) + "d" + s("length") + i(1) + "e", 1)),
                 "files[1]: path");
  expect_refused(parse(v1_multi(v1_file(1, ""), 1)), "path");
  expect_refused(parse(v1_multi(v1_file(1, i(7)), 1)), "path");
  expect_refused(parse(v1_multi("d" + s("path") + "l" + s("a") + "ee", 1)), "length");
  const std::string huge = v1_file((std::int64_t{1} << 48) - 1, s("a"));
  expect_refused(parse(v1_multi(huge + huge, 1)), "2^48");
  std::string deep;
  for (int n = 0; n < 3000; ++n)
    deep += s("dd");
  expect_refused(parse(v1_multi(v1_file(1, deep), 1)), "too long");
}

TEST(Metainfo, the_outer_dictionary) {
  const Info info = v1_single();
  expect_refused(parse(""), "bencoding");
  expect_refused(parse("4:abcd"), "dictionary");
  expect_refused(parse("de"), "info: missing");
  expect_refused(parse("d4:info4:abcde"), "info: missing");
  expect_refused(parse(torrent(info).substr(0, 40)), "ends inside");
  expect_refused(parse("d4:infoi99999999999999999999ee"), "64 bits");
  EXPECT_TRUE(parse(torrent(info) + "\n"));  // an editor's line end does no harm
}

TEST(Metainfo, trackers_in_tiers) {
  const std::string announce = s("announce") + s("http://one/");
  auto m = parse(torrent(v1_single(), announce));
  EXPECT_EQ(m->tracker_tiers, (std::vector<Paths>{{"http://one/"}}));
  m = parse(torrent(v1_single(), announce + s("announce-list") + "ll" + s(" http://a/ ") +
                                     s("udp://b") + i(4) + "el" + s("") + "e" + i(1) + "l" +
                                     s("http://c") + s("bad\nurl") + "ee"));
  EXPECT_EQ(m->tracker_tiers, (std::vector<Paths>{{"http://a/", "udp://b"}, {"http://c"}}));
  m = parse(torrent(v1_single(), announce + s("announce-list") + "lle" + s("x") + "e"));
  EXPECT_EQ(m->tracker_tiers, (std::vector<Paths>{{"http://one/"}}));
}

TEST(Metainfo, web_seeds_as_string_and_as_list) {
  auto m = parse(torrent(v1_single(), "", s("url-list") + s("http://w/")));
  EXPECT_EQ(m->web_seeds, Paths{"http://w/"});
  m = parse(torrent(
      v1_single(), "",
      s("url-list") + "l" + s("http://w/") + i(1) + s("") + s("http://w/") + s("http://v/") + "e"));
  EXPECT_EQ(m->web_seeds, (Paths{"http://w/", "http://v/"}));
  m = parse(torrent(v1_single(), "", s("url-list") + s("")));
  EXPECT_TRUE(m->web_seeds.empty());
}

TEST(Metainfo, the_words_around_it) {
  Info info = v1_single();
  info.more = s("private") + i(1) + s("source") + s("SRC");
  const auto m = parse(torrent(
      info,
      s("comment") + s("caf\xe9") + s("created by") + s("x/1") + s("creation date") + i(1700000000),
      s("nodes") + "ll" + s("h.example") + i(6881) + "el" + s("h") + i(0) + "e" + i(1) + "e"));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_TRUE(m->is_private);
  EXPECT_EQ(m->source, "SRC");
  EXPECT_EQ(m->comment, "caf_");
  EXPECT_EQ(m->created_by, "x/1");
  EXPECT_EQ(m->creation_date, 1700000000);
  ASSERT_EQ(m->dht_nodes.size(), 1u);
  EXPECT_EQ(m->dht_nodes[0].first, "h.example");
  info.more = s("private") + i(0);
  EXPECT_FALSE(parse(info)->is_private);
}

TEST(Metainfo, limits) {
  const std::string text = torrent(v1_multi(v1_file(1, s("a")) + v1_file(40000, s("b")), 3));
  EXPECT_TRUE(parse(text, {.files_max = 2, .pieces_max = 3}));
  expect_refused(parse(text, {.bytes_max = text.size() - 1}), "too large");
  expect_refused(parse(text, {.files_max = 1}), "too many files");
  expect_refused(parse(text, {.pieces_max = 2}), "too many pieces");
  expect_refused(parse(text, {.depth_max = 2}), "nested");
  expect_refused(parse(text, {.tokens_max = 10}), "too many values");
  std::string trackers = s("announce-list") + "l";
  for (int n = 0; n < 10; ++n)
    trackers += "l" + s("http://" + std::to_string(n)) + "e";
  const auto m = parse(torrent(v1_single(), trackers + "e"), {.trackers_max = 3});
  EXPECT_EQ(m->tracker_tiers.size(), 3u);
}

TEST(MetainfoV2, single_file_is_named_by_its_tree) {
  Info info = v2_only(s("real.bin") + leaf(100));
  info.name = s("advice");
  const auto m = parse(info);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_TRUE(m->single_file);
  EXPECT_EQ(m->name, "real.bin");
  EXPECT_FALSE(m->has_v1);
  EXPECT_TRUE(m->has_v2);
  EXPECT_EQ(m->files[0].pieces_root.bytes[0], std::byte{'r'});
  EXPECT_TRUE(m->v1_pieces.empty());
  // Whole pieces: others ask for the padding behind the last file too.
  EXPECT_EQ(m->blocks.total_size, 16384u);
}

TEST(MetainfoV2, every_file_begins_at_a_piece) {
  const auto m = parse(v2_only(s("a") + leaf(16385, 'a') + s("d") + "d" + s("b") + leaf(0, 0) +
                               s("c") + leaf(1, 'c') + "e"));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_FALSE(m->single_file);
  EXPECT_EQ(paths(m), (Paths{"a", "d/b", "d/c"}));
  EXPECT_EQ(m->files[2].offset, 32768u);
  EXPECT_EQ(m->blocks.total_size, 49152u);
  EXPECT_EQ(m->blocks.piece_count(), 3u);
  EXPECT_TRUE(m->piece_layers_missing);
}

TEST(MetainfoV2, piece_layers) {
  const Info info = v2_only(s("a") + leaf(40000, 'a') + s("b") + leaf(1, 'b'));
  const auto with = [&](const std::string& entries) {
    return parse(torrent(info, "", s("piece layers") + "d" + entries + "e"));
  };
  const std::string key = s(std::string(32, 'a'));
  const auto m = with(key + s(std::string(96, 'L')));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_FALSE(m->piece_layers_missing);
  EXPECT_EQ(m->files[0].piece_layer.size(), 3u);
  EXPECT_TRUE(m->files[1].piece_layer.empty());
  EXPECT_TRUE(with("")->piece_layers_missing);
  expect_refused(with(key + s(std::string(64, 'L'))), "piece layers");
  expect_refused(with(key + s(std::string(128, 'L'))), "piece layers");
  expect_refused(with(key + s(std::string(95, 'L'))), "piece layers");
  expect_refused(with(key + i(1)), "piece layers");
  expect_refused(with(s("short") + s(std::string(96, 'L'))), "piece layers");
}

TEST(MetainfoV2, wrong_trees_are_refused) {
  expect_refused(parse(v2_only("")), "no files");
  expect_refused(parse(v2_only(s("a") + leaf(0, 0))), "contents");
  expect_refused(parse(v2_only(s("a") + i(1))), "file tree");
  expect_refused(parse(v2_only(s("a") + "d0:i1ee")), "file tree");
  expect_refused(parse(v2_only(s("") + leaf(1))), "file tree");
  expect_refused(parse(v2_only(s("a") + "d0:d" + s("length") + i(1) + "e1:b" + leaf(1) + "e")),
                 "file tree");
  expect_refused(parse(v2_only(s("a") + leaf(-1))), "negative");
  expect_refused(parse(v2_only(s("a") + leaf(1, 0))), "pieces root");
  expect_refused(parse(v2_only(s("a") + leaf(1, 'r', "p"))), "padding");
  const std::string zero_root =
      "d0:d" + s("length") + i(1) + s("pieces root") + s(std::string(32, '\0')) + "ee";
  expect_refused(parse(v2_only(s("a") + zero_root)), "zero");
  Info info = v2_only(s("a") + leaf(1));
  info.tree.clear();
  expect_refused(parse(info), "file tree: missing");
  info = v2_only(s("a") + leaf(1));
  for (const std::int64_t size : {16383, 8192, 49152}) {
    info.piece_length = i(size);
    expect_refused(parse(info), "power of two");
  }
  std::string deep = leaf(1);
  for (int n = 0; n < 120; ++n)
    deep = "d1:d" + deep + "e";
  expect_refused(parse(v2_only(s("a") + deep)), "nested");
}

TEST(MetainfoV2, its_info_dictionary_is_canonical) {
  expect_refused(parse(v2_only(s("b") + leaf(1) + s("a") + leaf(1))), "canonical");
  expect_refused(parse(v2_only(s("a") + leaf(1) + s("a") + leaf(1))), "canonical");
  Info info = v2_only(s("a") + leaf(1));
  info.piece_length = "i016384e";
  expect_refused(parse(info), "canonical");
  info = v1_single();
  info.piece_length = "i016384e";
  EXPECT_TRUE(parse(info));  // as v1 always did
}

TEST(MetainfoV2, names_are_made_safe) {
  EXPECT_EQ(paths(parse(v2_only(s("..") + "d" + s("x") + leaf(1) + "e" + s("a/b") + leaf(1)))),
            (Paths{"x", "ab"}));
  EXPECT_EQ(paths(parse(v2_only(s("..") + leaf(1) + s("a") + leaf(1)))), (Paths{"_", "a"}));
}

Info hybrid() {
  Info info = v1_multi(
      v1_file(16385, s("a")) + v1_file(16383, s(".pad") + s("16383"), "p") + v1_file(5, s("b")), 3);
  info.tree = "d" + s("a") + leaf(16385, 'a') + s("b") + leaf(5, 'b') + "e";
  info.version = i(2);
  return info;
}

TEST(MetainfoHybrid, both_lists_agree) {
  const auto m = parse(hybrid());
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_TRUE(m->has_v1 && m->has_v2);
  EXPECT_EQ(m->v1_pieces.size(), 3u);
  EXPECT_EQ(m->files[0].pieces_root.bytes[0], std::byte{'a'});
  EXPECT_TRUE(m->files[1].padding && m->files[1].pieces_root.is_zero());
  EXPECT_EQ(m->files[2].pieces_root.bytes[0], std::byte{'b'});
  EXPECT_EQ(m->blocks.total_size, 32773u);
}

TEST(MetainfoHybrid, padding_behind_the_last_file_may_be_listed) {
  Info info = hybrid();
  info.files.pop_back();
  info.files += v1_file(16379, s(".pad") + s("16379"), "p") + "e";
  const auto m = parse(info);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ(m->blocks.total_size, 49152u);
}

TEST(MetainfoHybrid, single_file) {
  Info info = v1_single();
  info.version = i(2);
  info.tree = "d" + s("t") + leaf(20000) + "e";
  const auto m = parse(info);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_TRUE(m->single_file);
  info.tree = "d" + s("u") + leaf(20000) + "e";
  expect_refused(parse(info), "differ");
  info.tree = "d" + s("t") + leaf(20001) + "e";
  expect_refused(parse(info), "differ");
}

TEST(MetainfoHybrid, lists_that_differ_are_refused) {
  const std::string a = v1_file(16385, s("a"));
  const std::string pad = v1_file(16383, s(".pad") + s("16383"), "p");
  const std::string b = v1_file(5, s("b"));
  for (const std::string& files :
       {a + b, a + pad, b + pad + a, a + pad + v1_file(6, s("b")), a + pad + v1_file(5, s("c")),
        a + v1_file(16382, s("x"), "p") + b, a + v1_file(16383, s("x")) + b,
        a + pad + b + v1_file(1, s("c"))}) {
    Info info = hybrid();
    info.files = "l" + files + "e";
    SCOPED_TRACE(files);
    expect_refused(parse(info), "differ");
  }
  Info info = hybrid();
  info.pieces.clear();
  expect_refused(parse(info), "pieces: missing");
}

TEST(InfoDictionary, by_itself) {
  auto m = parse_info_dictionary(to_bytes(hybrid().text()));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_TRUE(m->piece_layers_missing);
  EXPECT_EQ(to_text(m->info_bytes), hybrid().text());
  EXPECT_FALSE(parse_info_dictionary(to_bytes(hybrid().text() + "x")));
  EXPECT_FALSE(parse_info_dictionary(to_bytes("le")));
  EXPECT_FALSE(parse_info_dictionary(to_bytes("d")));
}

}  // namespace
}  // namespace penstock
