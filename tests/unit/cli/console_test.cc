#include "cli/console.hh"

#include <cstdio>
#include <string>

#include <gtest/gtest.h>

#include "support_streams.hh"

namespace penstock::cli {
namespace {

TEST(Printable, LeavesTextAloneAndDisarmsControls) {
  EXPECT_EQ(printable("données – 数据.iso"), "données – 数据.iso");
  EXPECT_EQ(printable("a\033[2Jb\n"), "a\\x1b[2Jb\\x0a");
  EXPECT_EQ(printable("bad\xff\xc3"), "bad\\xff\\xc3");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\xc2\\x9b2J");
  // Overlong and surrogate forms are no UTF-8 (RFC 3629 §3).
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}

TEST(Console, IsQuietAboutProgressWithoutATerminal) {
  Streams streams;
  {
    Console console(streams.err(), streams.out(), false);
    Progress progress(console, "hashing", 100);
    progress.update(50);
    console.status("half way");
  }
  EXPECT_EQ(streams.err_text(), "");
  EXPECT_EQ(streams.out_text(), "");
}

TEST(Console, PutsMessagesAboveTheStatusLine) {
  Streams streams;
  {
    Console console(streams.err(), streams.out(), true);
    console.status("half way");
    console.note("seen");
  }
  const std::string text = streams.err_text();
  const std::size_t cleared = text.find("\r\033[K", text.find("half way"));
  const std::size_t note = text.find("seen\n");
  ASSERT_NE(cleared, std::string::npos);
  ASSERT_NE(note, std::string::npos);
  EXPECT_LT(cleared, note);
  EXPECT_GT(text.rfind("half way"), note);
  EXPECT_EQ(text.substr(text.size() - 4), "\r\033[K");
}

TEST(Console, CutsTheStatusLineByCharactersNotBytes) {
  Streams streams;
  {
    Console console(streams.err(), streams.out(), true);
    std::string line;
    for (int i = 0; i < 100; ++i)
      line += "é";
    console.status(line);
  }
  const std::string text = streams.err_text();
  std::size_t letters = 0;
  for (std::size_t at = text.find("é"); at != std::string::npos; at = text.find("é", at + 2))
    ++letters;
  EXPECT_EQ(letters, 79u);  // 80 columns where the size of the terminal is unknown
}

TEST(Console, HasNoColourWithoutATerminal) {
  Streams streams;
  Console console(streams.err(), streams.out(), false);
  console.error("broken");
  EXPECT_EQ(streams.err_text(), "penstock: error: broken\n");
  EXPECT_EQ(console.paint_out(Paint::red, "x"), "x");
}

TEST(ProgressLine, SaysRateAndTimeLeft) {
  const std::string line = progress_line("hashing", 512 << 20, 1 << 30, 256 << 20, 100);
  EXPECT_NE(line.find(" 50%"), std::string::npos) << line;
  EXPECT_NE(line.find("256 MiB/s"), std::string::npos) << line;
  EXPECT_NE(line.find("0:02 left"), std::string::npos) << line;
  EXPECT_NE(line.find("[###"), std::string::npos) << line;
  EXPECT_LE(line.size(), 99u);
}

TEST(ProgressLine, NeverRoundsUpToAllOfIt) {
  EXPECT_NE(progress_line("x", 999, 1000, 1, 80).find(" 99%"), std::string::npos);
  EXPECT_NE(progress_line("x", 0, 0, 0, 80).find("100%"), std::string::npos);
}

TEST(ProgressLine, DropsTheBarOnANarrowTerminal) {
  EXPECT_EQ(progress_line("hashing", 1, 2, 1, 40).find('['), std::string::npos);
}

}  // namespace
}  // namespace penstock::cli
