#include "control/folder_state.hh"

#include <gtest/gtest.h>

namespace penstock::control {
namespace {

using Kind = FolderState::Action::Kind;

class FolderStateTest : public ::testing::Test {
 protected:
  // "+a -b": what is to be done about this listing.
  std::string list(const std::vector<FolderFile>& files) {
    std::vector<FolderState::Action> actions;
    state_.on_listing(now_, files, actions);
    return text_of(actions);
  }
  std::string timeout() {
    std::vector<FolderState::Action> actions;
    state_.on_timeout(now_, actions);
    return text_of(actions);
  }
  static std::string text_of(const std::vector<FolderState::Action>& actions) {
    std::string text;
    for (const auto& action : actions) {
      if (!text.empty()) text += ' ';
      text += (action.kind == Kind::load ? "+" : "-") + action.name;
    }
    return text;
  }
  Instant now_{5'000'000'000};
  FolderState state_;
};

TEST_F(FolderStateTest, NewOnesAreLoadedGoneOnesUnloaded) {
  EXPECT_EQ(list({{"a", 1}, {"b", 1}}), "+a +b");
  state_.on_loaded("a");
  state_.on_loaded("b");
  EXPECT_EQ(list({{"a", 1}, {"b", 1}}), "");
  EXPECT_EQ(list({{"b", 1}, {"c", 1}}), "-a +c");
  state_.on_loaded("c");
  EXPECT_EQ(state_.loaded_count(), 2u);
  EXPECT_EQ(list({}), "-b -c");
  EXPECT_EQ(state_.loaded_count(), 0u);
}

TEST_F(FolderStateTest, ChangedOnesAreLoadedAnew) {
  list({{"a", 1, 10, 100}});
  state_.on_loaded("a");
  EXPECT_EQ(list({{"a", 2, 10, 100}}), "+a");
  state_.on_loaded("a");
  EXPECT_EQ(list({{"a", 2, 11, 100}}), "+a");
  state_.on_loaded("a");
  EXPECT_EQ(list({{"a", 2, 11, 101}}), "+a");  // replaced by another
}

TEST_F(FolderStateTest, AHalfWrittenFileIsTriedAgainQuietly) {
  list({{"a", 1}});
  EXPECT_FALSE(state_.on_failed(now_, "a"));
  EXPECT_EQ(state_.next_timeout(), now_ + FolderState::kRetry);
  EXPECT_EQ(timeout(), "");
  now_ = state_.next_timeout();
  EXPECT_EQ(timeout(), "+a");
  EXPECT_FALSE(state_.on_failed(now_, "a"));
  EXPECT_EQ(list({{"a", 2}}), "+a");  // it grew
  state_.on_loaded("a");
  EXPECT_EQ(state_.next_timeout(), Instant::never());
}

TEST_F(FolderStateTest, ABrokenOneIsReportedOnce) {
  list({{"a", 1}});
  int reports = 0;
  int loads = 1;
  reports += state_.on_failed(now_, "a");
  while (state_.next_timeout() != Instant::never()) {
    now_ = state_.next_timeout();
    ASSERT_EQ(timeout(), "+a");
    ++loads;
    reports += state_.on_failed(now_, "a");
  }
  EXPECT_EQ(reports, 1);
  EXPECT_EQ(loads, 11);  // every 200 ms for 2 s
  EXPECT_EQ(state_.broken_count(), 1u);
  EXPECT_EQ(list({{"a", 1}}), "");    // and left alone
  EXPECT_EQ(list({{"a", 3}}), "+a");  // until it changes
  EXPECT_FALSE(state_.on_failed(now_, "a"));
  now_ = now_ + FolderState::kSettled;
  EXPECT_EQ(timeout(), "+a");
  EXPECT_TRUE(state_.on_failed(now_, "a"));
}

TEST_F(FolderStateTest, ABrokenOneThatGoesNeedsNoUnload) {
  list({{"a", 1}});
  state_.on_failed(now_ + FolderState::kSettled, "a");
  EXPECT_EQ(list({}), "");
}

TEST_F(FolderStateTest, AServedOneThatBreaksIsStillUnloadedWhenItGoes) {
  list({{"a", 1}});
  state_.on_loaded("a");
  EXPECT_EQ(list({{"a", 0}}), "+a");  // being overwritten
  state_.on_failed(now_, "a");
  EXPECT_EQ(list({}), "-a");
}

TEST_F(FolderStateTest, RetryOfTheBrokenIsNotReportedAgain) {
  list({{"a", 1}});
  now_ = now_ + FolderState::kSettled;
  EXPECT_TRUE(state_.on_failed(now_, "a"));
  state_.retry_failed(now_);
  EXPECT_EQ(timeout(), "+a");
  EXPECT_FALSE(state_.on_failed(now_, "a"));
  state_.retry_failed(now_);
  EXPECT_EQ(timeout(), "+a");
  state_.on_loaded("a");
  EXPECT_EQ(state_.broken_count(), 0u);
}

}  // namespace
}  // namespace penstock::control
