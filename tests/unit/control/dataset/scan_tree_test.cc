#include "control/dataset/scan_tree.hh"

#include <filesystem>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "temp_tree.hh"

namespace penstock::control {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> paths_of(const ScannedTree& tree) {
  std::vector<std::string> paths;
  for (const ScannedFile& file : tree.files)
    paths.push_back(file.path);
  return paths;
}

std::string error_of(const TempTree& tree, const std::string& below = "set") {
  const auto scanned = scan_tree(tree.path(below));
  return scanned ? "no error" : scanned.error().message;
}

TEST(ScanTree, ListsDepthFirstByTheBytesOfNames) {
  TempTree tree;
  for (const char* path : {"set/a.b", "set/a/x", "set/Zed", "set/é", "set/b/z/1", "set/b/a"})
    tree.write(path, 3);
  tree.write("set/empty", 0);
  const auto scanned = scan_tree(tree.path("set"));
  ASSERT_TRUE(scanned) << scanned.error().message;
  // "a" before "a.b": directories sort by their own name, as the keys of a v2 file tree do.
  EXPECT_EQ(paths_of(*scanned),
            (std::vector<std::string>{"Zed", "a/x", "a.b", "b/a", "b/z/1", "empty", "é"}));
  EXPECT_EQ(scanned->name, "set");
  EXPECT_FALSE(scanned->single_file);
  EXPECT_EQ(scanned->total_bytes, 18u);
}

TEST(ScanTree, TakesAFileOrADirectoryHoweverItIsSpelt) {
  TempTree tree;
  tree.write("set/file", 5);
  const auto file = scan_tree(tree.path("set/file"));
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->single_file);
  EXPECT_EQ(file->name, "file");
  EXPECT_EQ(scan_tree(tree.path("set") + "//")->name, "set");
  EXPECT_EQ(scan_tree(tree.path("set/."))->name, "set");
  EXPECT_EQ(scan_tree(tree.path("set/../set"))->name, "set");
}

TEST(ScanTree, FollowsLinksThatStayInside) {
  TempTree tree;
  tree.write("set/a", 5);
  tree.write("set/d/f", 6);
  fs::create_symlink("a", tree.path("set/link"));
  fs::create_directory_symlink("d", tree.path("set/e"));
  const auto scanned = scan_tree(tree.path("set"));
  ASSERT_TRUE(scanned) << scanned.error().message;
  EXPECT_EQ(paths_of(*scanned), (std::vector<std::string>{"a", "d/f", "e/f", "link"}));

  // The path itself is the user's word, wherever it leads; the torrent has the name that was given.
  fs::create_directory_symlink(tree.path("set"), tree.path("alias"));
  EXPECT_EQ(scan_tree(tree.path("alias"))->name, "alias");
  EXPECT_EQ(scan_tree(tree.path("alias"))->files.size(), 4u);
}

TEST(ScanTree, RefusesWhatATorrentCanNotHoldAndNamesIt) {
  {
    TempTree tree;
    tree.write("set/a", 5);
    tree.write("other", 5);
    fs::create_symlink("../other", tree.path("set/out"));
    EXPECT_NE(error_of(tree).find("set/out\": a symbolic link leads out"), std::string::npos)
        << error_of(tree);
  }
  {
    TempTree tree;
    tree.write("set/a", 5);
    fs::create_symlink("none", tree.path("set/broken"));
    EXPECT_NE(error_of(tree).find("leads nowhere"), std::string::npos) << error_of(tree);
  }
  {
    TempTree tree;
    tree.write("set/d/a", 5);
    fs::create_directory_symlink("../d", tree.path("set/d/again"));
    EXPECT_NE(error_of(tree).find("circles"), std::string::npos) << error_of(tree);
  }
  {
    TempTree tree;
    tree.write("set/a", 5);
    ASSERT_EQ(::mkfifo(tree.path("set/pipe").c_str(), 0600), 0);
    EXPECT_NE(error_of(tree).find("set/pipe\": is neither a file"), std::string::npos);
  }
  for (const char* name : {"back\\slash", "not\xffutf8", "new\nline"}) {
    TempTree tree;
    tree.write(std::string("set/") + name, 5);
    EXPECT_NE(error_of(tree).find("rename it"), std::string::npos) << name;
  }
}

TEST(ScanTree, TellsOfDirectoriesItCanNotExpressAndOfNothingToShare) {
  TempTree tree;
  tree.write("set/a", 5);
  fs::create_directories(tree.path("set/d/e"));
  const auto scanned = scan_tree(tree.path("set"));
  ASSERT_TRUE(scanned);
  EXPECT_EQ(scanned->empty_directories, std::vector<std::string>{"d/e"});

  fs::create_directories(tree.path("nothing"));
  EXPECT_NE(error_of(tree, "nothing").find("no file"), std::string::npos);
  tree.write("zero/a", 0);
  EXPECT_NE(error_of(tree, "zero").find("not one byte"), std::string::npos);
  EXPECT_NE(error_of(tree, "missing").find("No such file"), std::string::npos);
}

}  // namespace
}  // namespace penstock::control
