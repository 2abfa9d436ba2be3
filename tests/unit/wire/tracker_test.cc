#include <gtest/gtest.h>

#include "bytes.hh"
#include "wire/tracker_http.hh"
#include "wire/tracker_udp.hh"

namespace penstock::wire {
namespace {

using test::from_hex;
using test::to_bytes;
using test::to_hex;

AnnounceRequest request() {
  AnnounceRequest r;
  for (std::size_t i = 0; i < 20; ++i) {
    r.info_hash.bytes[i] = static_cast<std::byte>(i * 13);
    r.peer_id[i] = static_cast<std::byte>('A' + i);
  }
  r.downloaded = 1;
  r.uploaded = 2;
  r.left = 3;
  r.event = AnnounceEvent::started;
  r.port = 6881;
  r.peers_wanted = 50;
  r.key = 0xdeadbeef;
  return r;
}

Result<AnnounceResponse> announce(std::string_view body) {
  return decode_announce_body(to_bytes(body));
}

TEST(HttpTracker, announce_url_golden) {
  EXPECT_EQ(announce_url("http://t.example/announce", request()),
            "http://t.example/announce?info_hash=%00%0D%1A%274AN%5Bhu%82%8F%9C%A9%B6%C3%D0%DD%EA"
            "%F7&peer_id=ABCDEFGHIJKLMNOPQRST&port=6881&uploaded=2&downloaded=1&left=3"
            "&key=DEADBEEF&event=started&numwant=50&compact=1&no_peer_id=1");
}

TEST(HttpTracker, announce_url_keeps_a_query_and_drops_a_fragment) {
  AnnounceRequest r = request();
  r.event = AnnounceEvent::none;
  r.peers_wanted = -1;
  r.tracker_id = "a b";
  r.ip = *parse_ip("2001:db8::1");
  const std::string url = announce_url("http://t/announce?passkey=1#frag", r);
  EXPECT_TRUE(url.starts_with("http://t/announce?passkey=1&info_hash=")) << url;
  EXPECT_EQ(url.find("event="), std::string::npos);
  EXPECT_EQ(url.find("numwant="), std::string::npos);
  EXPECT_NE(url.find("&ipv6=2001%3Adb8%3A%3A1&trackerid=a%20b&"), std::string::npos) << url;
  EXPECT_EQ(url.find('#'), std::string::npos);
}

TEST(HttpTracker, scrape_url_by_convention) {
  const WireInfoHash hashes[2] = {};
  EXPECT_EQ(*scrape_url("http://t/x/announce.php?k=1", std::span(hashes).first(1)),
            "http://t/x/scrape.php?k=1&info_hash=%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00"
            "%00%00%00%00");
  EXPECT_EQ(*scrape_url("http://t/announce", {}), "http://t/scrape");
  EXPECT_FALSE(scrape_url("http://t/a", hashes));
  EXPECT_FALSE(scrape_url("http://t/announce/x", hashes));
  EXPECT_FALSE(scrape_url("announce", hashes));
}

TEST(HttpTracker, compact_response) {
  const std::string peers("\xc0\x00\x02\x01\x1a\xe1\xc0\x00\x02\x02\x00\x00", 12);
  const std::string peers6 = std::string(15, '\x20') + "\x01\x1a\xe1";
  const auto r = announce(
      "d8:completei5e10:downloadedi9e11:external ip4:\xc6\x33\x64\x07"
      "10:incompletei2e8:intervali1800e12:min intervali900e5:peers12:" +
      peers + "6:peers618:" + peers6 + "10:tracker id3:abc15:warning message2:hie");
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_EQ(r->interval_s, 1800u);
  EXPECT_EQ(r->min_interval_s, 900u);
  EXPECT_EQ(r->seeds, 5u);
  EXPECT_EQ(r->leeches, 2u);
  EXPECT_EQ(r->downloads, 9u);
  ASSERT_EQ(r->peers.size(), 2u);  // the one with port 0 is none
  EXPECT_EQ(r->peers[0].to_string(), "192.0.2.1:6881");
  EXPECT_EQ(r->peers[1].port, 6881);
  EXPECT_FALSE(r->peers[1].ip.is_v4());
  EXPECT_EQ(r->external_ip->to_string(), "198.51.100.7");
  EXPECT_EQ(r->tracker_id, "abc");
  EXPECT_EQ(r->warning, "hi");
}

TEST(HttpTracker, listed_peers) {
  const auto r = announce(
      "d8:intervali60e5:peersld2:ip9:192.0.2.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881ee"
      "d2:ip11:2001:db8::14:porti1ee"
      "d2:ip6:a.test4:porti2ee"
      "d2:ip3:a/b4:porti2ee"
      "d2:ip9:192.0.2.24:porti0ee"
      "d2:ip9:192.0.2.34:porti65536ee"
      "d4:porti1ee"
      "i5eee");
  ASSERT_TRUE(r) << r.error().message;
  ASSERT_EQ(r->peers.size(), 2u);
  EXPECT_EQ(r->peers[0].to_string(), "192.0.2.1:6881");
  EXPECT_EQ(r->peers[1].to_string(), "[2001:db8::1]:1");
  ASSERT_EQ(r->named_peers.size(), 1u);
  EXPECT_EQ(r->named_peers[0].first, "a.test");
}

TEST(HttpTracker, failure_has_the_trackers_words_on_one_line) {
  const auto r = announce(
      "d14:failure reason9:go\naway!\xff"
      "e");
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().kind, ErrorKind::failed);
  EXPECT_EQ(r.error().message, "the tracker says: go away!_");
}

TEST(HttpTracker, retry_in) {
  const auto retry = [](std::string_view body) { return decode_retry_in(to_bytes(body)); };
  EXPECT_EQ(retry("d14:failure reason2:no8:retry ini5ee"), 5u);
  EXPECT_EQ(retry("d14:failure reason2:no8:retry in5:nevere"), kRetryNever);
  EXPECT_EQ(retry("d14:failure reason2:no8:retry ini99999999999ee"), kRetryNever);
  for (const char* body :
       {"d14:failure reason2:noe", "d14:failure reason2:no8:retry ini-5ee", "d8:retry ini5ee",
        "d14:failure reason2:no8:retry in4:soone", "", "le", "d14:failure reason2:no8:retry in"}) {
    EXPECT_EQ(retry(body), std::nullopt) << body;
  }
}

TEST(HttpTracker, bounds) {
  const auto r = announce("d8:intervali-5e5:peers30000:" + std::string(30000, '\x01') + "e");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->interval_s, 0u);
  EXPECT_EQ(r->peers.size(), kTrackerPeersMax);
  const auto huge = announce("d8:intervali99999999999999e5:peers7:abcdef!e");
  ASSERT_TRUE(huge);
  EXPECT_EQ(huge->interval_s, 0xffffffffu);
  EXPECT_EQ(huge->peers.size(), 1u);  // the seventh byte is no peer
}

TEST(HttpTracker, malformed) {
  for (const char* body : {"", "<html>", "le", "i5e", "d8:interval", "4:oops"}) {
    const auto r = announce(body);
    ASSERT_FALSE(r) << body;
    EXPECT_EQ(r.error().kind, ErrorKind::usage);
  }
  EXPECT_FALSE(decode_announce_body(std::vector<std::byte>(kTrackerBodyMax + 1)));
}

TEST(HttpTracker, scrape) {
  const auto entries = decode_scrape_body(
      to_bytes("d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei5e10:downloadedi7e10:incompletei3ee"
               "3:bad"
               "de"
               "20:bbbbbbbbbbbbbbbbbbbbi1eee"));
  ASSERT_TRUE(entries) << entries.error().message;
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ((*entries)[0].seeds, 5u);
  EXPECT_EQ((*entries)[0].downloads, 7u);
  EXPECT_EQ((*entries)[0].leeches, 3u);
  EXPECT_FALSE(decode_scrape_body(to_bytes("de")));
  EXPECT_FALSE(decode_scrape_body(to_bytes("d14:failure reason2:noe")));
}

TEST(UdpTracker, connect_golden) {
  EXPECT_EQ(to_hex(encode_udp_connect(0x01020304)), "00000417271019800000000001020304");
  EXPECT_EQ(decode_udp_connect(from_hex("00000000 01020304 1122334455667788")),
            0x1122334455667788u);
  EXPECT_FALSE(decode_udp_connect(from_hex("00000000 01020304 11223344556677")));
  EXPECT_FALSE(decode_udp_connect(from_hex("00000001 01020304 1122334455667788")));
}

TEST(UdpTracker, announce_golden) {
  AnnounceRequest r = request();
  r.ip = *parse_ip("192.0.2.1");
  EXPECT_EQ(to_hex(encode_udp_announce(0x1122334455667788, 0x01020304, r)),
            "1122334455667788"
            "00000001"
            "01020304"
            "000d1a2734414e5b6875828f9ca9b6c3d0ddeaf7"
            "4142434445464748494a4b4c4d4e4f5051525354"
            "0000000000000001"
            "0000000000000003"
            "0000000000000002"
            "00000002"
            "c0000201"
            "deadbeef"
            "00000032"
            "1ae1");
}

TEST(UdpTracker, url_data_option) {
  const auto bytes = encode_udp_announce(1, 2, request(), "/a?b");
  ASSERT_EQ(bytes.size(), kUdpAnnounceRequestSize + 7);
  EXPECT_EQ(to_hex(std::span(bytes).subspan(kUdpAnnounceRequestSize)), "02042f613f6200");
  const auto longer = encode_udp_announce(1, 2, request(), std::string(300, 'x'));
  EXPECT_EQ(longer.size(), kUdpAnnounceRequestSize + 2 + 255 + 2 + 45 + 1);
}

TEST(UdpTracker, announce_response) {
  const std::string head = "00000001 01020304 00000708 00000002 00000005";
  auto r = decode_udp_announce(from_hex(head + "c00002011ae1 c00002020000 c0000203"), false);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->interval_s, 1800u);
  EXPECT_EQ(r->leeches, 2u);
  EXPECT_EQ(r->seeds, 5u);
  ASSERT_EQ(r->peers.size(), 1u);
  EXPECT_EQ(r->peers[0].to_string(), "192.0.2.1:6881");
  r = decode_udp_announce(from_hex(head + "20010db8000000000000000000000001 1ae1"), true);
  ASSERT_TRUE(r);
  ASSERT_EQ(r->peers.size(), 1u);
  EXPECT_EQ(r->peers[0].to_string(), "[2001:db8::1]:6881");
  EXPECT_FALSE(decode_udp_announce(from_hex("00000001 01020304 00000708 00000002 000005"), false));
  EXPECT_FALSE(
      decode_udp_announce(from_hex("00000002 01020304 00000708 00000002 00000005"), false));
}

TEST(UdpTracker, scrape) {
  const WireInfoHash hashes[2] = {};
  EXPECT_EQ(to_hex(encode_udp_scrape(1, 2, std::span(hashes).first(1))),
            "0000000000000001"
            "00000002"
            "00000002" +
                std::string(40, '0'));
  const auto entries =
      decode_udp_scrape(from_hex("00000002 00000002 00000005 00000007 00000003 00"), hashes);
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ((*entries)[0].seeds, 5u);
  EXPECT_EQ((*entries)[0].downloads, 7u);
  EXPECT_EQ((*entries)[0].leeches, 3u);
}

TEST(UdpTracker, error_and_header) {
  EXPECT_EQ(decode_udp_error(from_hex("00000003 00000001 6e6f0a21")), "no !");
  EXPECT_FALSE(decode_udp_error(from_hex("00000001 00000001 6e6f")));
  EXPECT_FALSE(decode_udp_header(from_hex("00000000 000000")));
  EXPECT_FALSE(decode_udp_header(from_hex("00000004 00000000")));
  EXPECT_EQ(decode_udp_header(from_hex("00000002 00000009"))->transaction, 9u);
}

}  // namespace
}  // namespace penstock::wire
