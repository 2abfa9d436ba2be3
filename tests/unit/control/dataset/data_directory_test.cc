#include "control/dataset/data_directory.hh"

#include <cerrno>
#include <filesystem>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "temp_tree.hh"

namespace penstock::control {
namespace {

namespace fs = std::filesystem;

TEST(DataDirectory, OpensRegularFilesOnly) {
  TempTree tree;
  tree.write("data/a/file", 100);
  ASSERT_EQ(::mkfifo(tree.path("data/fifo").c_str(), 0600), 0);
  const auto directory = DataDirectory::open(tree.path("data"));
  ASSERT_TRUE(directory);
  const auto opened = directory->open_file("a/file");
  EXPECT_TRUE(opened.file);
  EXPECT_EQ(opened.size, 100u);
  EXPECT_EQ(directory->stat_file("a/file").size, 100u);
  EXPECT_EQ(directory->open_file("a").error, EISDIR);
  EXPECT_EQ(directory->open_file("fifo").error, ENOTSUP);
  EXPECT_EQ(directory->open_file("none").error, ENOENT);
}

TEST(DataDirectory, LetsNoPathLeadOut) {
  TempTree tree;
  tree.write("outside", 10);
  tree.write("data/inside", 10);
  fs::create_symlink("inside", tree.path("data/good"));
  fs::create_symlink("../outside", tree.path("data/up"));
  fs::create_symlink(tree.path("outside"), tree.path("data/absolute"));
  fs::create_directory_symlink("..", tree.path("data/parent"));
  const auto directory = DataDirectory::open(tree.path("data"));
  ASSERT_TRUE(directory);
  EXPECT_TRUE(directory->open_file("good").file);
  for (const char* path : {"up", "absolute", "parent/outside", "../outside"})
    EXPECT_EQ(directory->open_file(path).error, EXDEV) << path;
}

TEST(DataDirectory, SaysWhatIsWrongWithItself) {
  TempTree tree;
  tree.write("file", 1);
  const auto missing = DataDirectory::open(tree.path("none"));
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find(tree.path("none")), std::string::npos);
  EXPECT_NE(missing.error().message.find("No such file"), std::string::npos);
  EXPECT_FALSE(DataDirectory::open(tree.path("file")));
}

}  // namespace
}  // namespace penstock::control
