// Magnet links: what is accepted and written out again means the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.hh"
#include "wire/magnet.hh"
#include "wire/uri.hh"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto magnet = penstock::parse_magnet(text);
  if (magnet) {
    ASSERT(magnet->v1_hash || magnet->v2_hash);
    ASSERT(!magnet->wire_hash().is_zero() || magnet->v2_hash);
    const std::string link = penstock::format_magnet(*magnet);
    // Escaping can make a link too long for parse_magnet.
    if (link.size() <= 60'000) ASSERT(penstock::parse_magnet(link) == *magnet);
  }
  std::string escaped;
  penstock::append_percent_encoded(escaped, text);
  ASSERT(penstock::percent_decode(escaped) == text);
  return 0;
}
