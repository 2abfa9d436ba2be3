// Trackers' answers. The first byte chooses which kind it is.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/assert.hh"
#include "wire/tracker_http.hh"
#include "wire/tracker_udp.hh"

namespace {

using namespace penstock::wire;

void check_response(const AnnounceResponse& response) {
  ASSERT(response.peers.size() + response.named_peers.size() <= 2 * kTrackerPeersMax);
  for (const penstock::Endpoint& peer : response.peers)
    ASSERT(peer.port != 0);
  for (const auto& [host, port] : response.named_peers)
    ASSERT(!host.empty() && port != 0);
}

void check_words(const std::string& words) {
  ASSERT(std::all_of(words.begin(), words.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= ' '; }));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto body = std::as_bytes(std::span(data, size)).subspan(1);
  const penstock::WireInfoHash hashes[3] = {};
  switch (data[0] % 5) {
    case 0: {
      const auto response = decode_announce_body(body);
      if (response) {
        check_response(*response);
        check_words(response->warning);
      } else {
        check_words(response.error().message);
        (void)decode_retry_in(body);
      }
      break;
    }
    case 1: {
      const auto entries = decode_scrape_body(body);
      ASSERT(!entries || entries->size() <= body.size() / sizeof(penstock::WireInfoHash));
      break;
    }
    case 2:
      for (const bool v6 : {false, true}) {
        if (const auto response = decode_udp_announce(body, v6)) check_response(*response);
      }
      break;
    case 3: {
      const auto header = decode_udp_header(body);
      const bool one =
          decode_udp_connect(body) || decode_udp_scrape(body, hashes) || decode_udp_error(body);
      ASSERT(!one || header);
      if (const auto words = decode_udp_error(body)) check_words(*words);
      break;
    }
    default: {
      const std::string_view url(reinterpret_cast<const char*>(body.data()), body.size());
      ASSERT(announce_url(url, {}).find("info_hash=") != std::string::npos);
      const auto scrape = scrape_url(url, hashes);
      ASSERT(!scrape || scrape->find("scrape") != std::string::npos);
    }
  }
  return 0;
}
