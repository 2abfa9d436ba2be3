#include "shard/load/http_link.hh"

#include <string>

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr std::uint32_t kRange = 100;

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string answer(std::uint32_t length, char fill) {
  return "HTTP/1.1 206 Partial Content\r\nContent-Range: x\r\ncontent-length: " +
         std::to_string(length) + "\r\n\r\n" + std::string(length, fill);
}

struct Http {
  Http() {
    link.open(now, {});
    LinkEvent event;
    EXPECT_TRUE(link.poll_event(event));
    EXPECT_EQ(event.kind, LinkEvent::Kind::ready);
  }
  std::string output() {
    std::array<std::byte, 4096> scratch;
    std::array<SendPart, 4> parts;
    std::string out;
    while (link.output_pending()) {
      const SmallFill fill = link.fill_output(now, scratch, parts);
      out.append(reinterpret_cast<const char*>(scratch.data()), fill.bytes);
      link.on_output_sent(now, fill.bytes);
    }
    return out;
  }
  Instant now{5};
  HttpLink link{"/f", "h:1", kRange};
};

TEST(HttpLink, AsksForRangesPipelined) {
  Http http;
  EXPECT_TRUE(http.link.try_request(http.now, {PieceIndex(0), 0, 100}));
  EXPECT_TRUE(http.link.try_request(http.now, {PieceIndex(3), 0, 50}));
  EXPECT_EQ(http.output(),
            "GET /f HTTP/1.1\r\nHost: h:1\r\nRange: bytes=0-99\r\n\r\n"
            "GET /f HTTP/1.1\r\nHost: h:1\r\nRange: bytes=300-349\r\n\r\n");
}

// Two answers, cut at every place into two deliveries.
TEST(HttpLink, ReadsAnswersHoweverTheyAreCut) {
  const std::string stream = answer(100, 'a') + answer(50, 'b');
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    Http http;
    http.link.try_request(http.now, {PieceIndex(0), 0, 100});
    http.link.try_request(http.now, {PieceIndex(3), 0, 50});
    std::string got;
    int answered = 0;
    const std::string halves[2] = {stream.substr(0, cut), stream.substr(cut)};
    for (const std::string& half : halves) {
      http.link.on_data(http.now, bytes(half));
      LinkEvent event;
      while (http.link.poll_event(event)) {
        ASSERT_EQ(event.kind, LinkEvent::Kind::bytes) << cut;
        ASSERT_EQ(event.request.piece.value, answered == 0 ? 0u : 3u);
        ASSERT_EQ(event.offset, got.size() - (answered == 0 ? 0 : 100));
        got.append(reinterpret_cast<const char*>(event.data.data()), event.data.size());
        answered += event.last ? 1 : 0;
      }
    }
    EXPECT_EQ(answered, 2) << cut;
    EXPECT_EQ(got, std::string(100, 'a') + std::string(50, 'b'));
  }
}

TEST(HttpLink, EndsOnAnythingButTheRange) {
  const std::pair<std::string, const char*> cases[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "answer_refused"},
      {"HTTP/1.1 206 Partial Content\r\nContent-Length: 99\r\n\r\n", "answer_refused"},
      {"HTTP/1.1 206 Partial Content\r\n\r\n", "answer_refused"},
      {std::string(40'000, 'x'), "answer_too_long"},
  };
  for (const auto& [text, reason] : cases) {
    Http http;
    http.link.try_request(http.now, {PieceIndex(0), 0, 100});
    http.link.on_data(http.now, bytes(text));
    LinkEvent event;
    ASSERT_TRUE(http.link.poll_event(event));
    EXPECT_EQ(event.kind, LinkEvent::Kind::closed);
    EXPECT_STREQ(event.reason, reason);
  }
}

TEST(HttpLink, EndsOnBytesNobodyAskedFor) {
  Http http;
  const std::string text = "x";
  http.link.on_data(http.now, bytes(text));
  LinkEvent event;
  ASSERT_TRUE(http.link.poll_event(event));
  EXPECT_STREQ(event.reason, "unexpected_answer");
}

}  // namespace
}  // namespace penstock
