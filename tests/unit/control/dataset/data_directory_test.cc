#include "control/dataset/data_directory.hh"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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

// As an old kernel (ENOSYS) or a container (EPERM) answers openat2.
bool forbid_openat2(std::uint32_t error) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// The number of the first check that failed; 0: none. Runs in a child process.
int check_without_openat2(const TempTree& tree, std::uint32_t error) {
  if (!forbid_openat2(error)) return 1;
  const auto directory = DataDirectory::open(tree.path("data"));
  if (!directory) return 2;
  if (directory->open_file("a/b/file").size != 100) return 3;
  if (directory->open_file("link").error != ELOOP) return 4;
  if (directory->open_file("linked/b/file").error == 0) return 5;
  if (directory->open_file("../outside").error != EXDEV) return 6;
  if (directory->open_file("a/../../outside").error != EXDEV) return 7;
  if (directory->open_file("/etc/passwd").error != EXDEV) return 8;
  if (directory->open_file("a//b").error != EXDEV) return 9;
  if (directory->stat_file("a/b").error != EISDIR) return 10;
  if (directory->open_file("a/none").error != ENOENT) return 11;
  return 0;
}

TEST(DataDirectory, FollowsNoLinkWhereOpenat2IsMissing) {
  TempTree tree;
  tree.write("data/a/b/file", 100);
  tree.write("outside", 10);
  fs::create_symlink("a/b/file", tree.path("data/link"));
  fs::create_directory_symlink("a", tree.path("data/linked"));
  for (const std::uint32_t error : {ENOSYS, EPERM}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(check_without_openat2(tree, error));
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
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
