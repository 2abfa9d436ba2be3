// Magnet links (BEP 9, 53): "magnet:?xt=urn:btih:…&xt=urn:btmh:…&dn=…&tr=…&ws=…&x.pe=…&so=…".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.hh"
#include "base/result.hh"
#include "wire/metainfo.hh"

namespace penstock {

struct Magnet {
  std::optional<Sha1Digest> v1_hash;    // xt=urn:btih, 40 hexadecimal or 32 base32 characters
  std::optional<Sha256Digest> v2_hash;  // xt=urn:btmh, a SHA-256 multihash (1220…)
  std::string name;                     // dn: UTF-8, for people; no path
  std::optional<std::uint64_t> length;  // xl: bytes
  std::vector<std::string> trackers;    // tr, tr.1 …; in order, without duplicates
  std::vector<std::string> web_seeds;   // ws
  // x.pe: "host:port" as it stands; a host may be a name, so it is not resolved here.
  std::vector<std::pair<std::string, std::uint16_t>> peers;
  // so (BEP 53): ranges of file indices, both ends included, in the order given.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> select_only;

  [[nodiscard]] WireInfoHash wire_hash() const {
    return v1_hash ? *v1_hash : v2_hash ? truncate(*v2_hash) : WireInfoHash{};
  }
  bool operator==(const Magnet&) const = default;
};

// Refuses links without an info-hash that is known here, with a malformed one, or with two
// different ones of a kind; other parameters that make no sense are passed over. At most 64 KiB.
Result<Magnet> parse_magnet(std::string_view link);

// The canonical form: hashes in lower-case hexadecimal, everything else percent-encoded.
// parse_magnet() of it gives the same value.
std::string format_magnet(const Magnet& magnet);

// Of a torrent that identify() has seen.
Magnet magnet_of(const Metainfo& metainfo);

}  // namespace penstock
