#include "wire/magnet.hh"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "wire/uri.hh"
#include "wire/utf8.hh"

namespace penstock {
namespace {

constexpr std::size_t kLinkBytesMax = std::size_t{64} * 1024;
constexpr std::string_view kScheme = "magnet:?";
constexpr std::string_view kV1Prefix = "urn:btih:";
constexpr std::string_view kV2Prefix = "urn:btmh:";
// Multihash: function 0x12 (SHA-256), length 0x20.
constexpr std::string_view kSha256Multihash = "1220";

auto refuse(std::string what) {
  return fail("magnet link: " + std::move(what), ErrorKind::usage);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "tr" or "tr.12": how links number what comes several times.
bool is_key(std::string_view key, std::string_view name) {
  if (!key.starts_with(name)) return false;
  key.remove_prefix(name.size());
  return key.empty() || (key.starts_with('.') && number<std::uint32_t>(key.substr(1)).has_value());
}

void append_unique(std::vector<std::string>& list, std::string value) {
  const bool control = std::any_of(value.begin(), value.end(),
                                   [](char c) { return static_cast<unsigned char>(c) < ' '; });
  if (value.empty() || control) return;
  if (std::find(list.begin(), list.end(), value) == list.end()) list.push_back(std::move(value));
}

template <class DigestType>
Result<void> set_hash(std::optional<DigestType>& slot, const DigestType& hash) {
  if (slot && *slot != hash) return refuse("two different info-hashes of one kind");
  if (hash.is_zero()) return refuse("an info-hash of zeros");
  slot = hash;
  return {};
}

Result<void> read_topic(std::string_view value, Magnet& out) {
  const std::string folded = lower(value.substr(0, kV1Prefix.size()));
  const std::string_view digits = value.substr(std::min(value.size(), kV1Prefix.size()));
  static_assert(kV1Prefix.size() == kV2Prefix.size());
  if (folded == kV1Prefix) {
    Sha1Digest hash;
    if (!decode_hex(digits, hash.bytes) && !decode_base32(digits, hash.bytes)) {
      return refuse("urn:btih: neither 40 hexadecimal nor 32 base32 characters");
    }
    return set_hash(out.v1_hash, hash);
  }
  if (folded == kV2Prefix) {
    Sha256Digest hash;
    if (!digits.starts_with(kSha256Multihash) ||
        !decode_hex(digits.substr(kSha256Multihash.size()), hash.bytes)) {
      return refuse("urn:btmh: not a SHA-256 multihash (1220 and 64 hexadecimal characters)");
    }
    return set_hash(out.v2_hash, hash);
  }
  return {};  // of another network
}

void read_peer(const std::string& value, Magnet& out) {
  const std::size_t colon = value.rfind(':');
  if (colon == std::string::npos || colon == 0) return;
  const auto port = number<std::uint16_t>(std::string_view(value).substr(colon + 1));
  if (!port || *port == 0) return;
  std::string host = value.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return;  // IPv6 without brackets: where does the port begin?
  }
  const bool plain = std::all_of(host.begin(), host.end(), [](char c) {
    return static_cast<unsigned char>(c) > ' ' && c != '[' && c != ']' && c != '/';
  });
  if (plain) out.peers.emplace_back(std::move(host), *port);
}

// "0,2,4-6" (BEP 53).
void read_selection(std::string_view value, Magnet& out) {
  while (!value.empty()) {
    const std::size_t comma = std::min(value.find(','), value.size());
    const std::string_view part = value.substr(0, comma);
    value.remove_prefix(std::min(comma + 1, value.size()));
    const std::size_t dash = part.find('-');
    const auto first = number<std::uint32_t>(part.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : number<std::uint32_t>(part.substr(dash + 1));
    if (first && last && *first <= *last) out.select_only.emplace_back(*first, *last);
  }
}

Result<void> read_parameter(std::string_view key, std::string_view raw, Magnet& out) {
  if (is_key(key, "xt")) return read_topic(percent_decode(raw), out);
  if (is_key(key, "tr")) append_unique(out.trackers, percent_decode(raw));
  if (is_key(key, "ws")) append_unique(out.web_seeds, percent_decode(raw));
  if (is_key(key, "x.pe")) read_peer(percent_decode(raw), out);
  if (key == "dn" && out.name.empty()) out.name = mend_utf8(percent_decode(raw));
  if (key == "xl" && !out.length) out.length = number<std::uint64_t>(raw);
  if (key == "so") read_selection(percent_decode(raw), out);
  return {};
}

void append_parameter(std::string& link, std::string_view key, std::string_view value) {
  link.push_back('&');
  link.append(key);
  link.push_back('=');
  append_percent_encoded(link, value);
}

std::string selection_text(const Magnet& magnet) {
  std::string text;
  for (const auto& [first, last] : magnet.select_only) {
    if (!text.empty()) text.push_back(',');
    text += std::to_string(first);
    if (last != first) text += "-" + std::to_string(last);
  }
  return text;
}

}  // namespace

Result<Magnet> parse_magnet(std::string_view link) {
  if (link.size() > kLinkBytesMax) return refuse("longer than 64 KiB");
  if (lower(link.substr(0, kScheme.size())) != kScheme) {
    return refuse("does not begin with magnet:?");
  }
  link.remove_prefix(kScheme.size());
  Magnet out;
  while (!link.empty()) {
    const std::size_t end = std::min(link.find('&'), link.size());
    std::string_view parameter = link.substr(0, end);
    link.remove_prefix(std::min(end + 1, link.size()));
    // "&amp;": links that were copied out of a page's source.
    if (parameter.starts_with("amp;")) parameter.remove_prefix(4);
    const std::size_t equals = parameter.find('=');
    if (equals == std::string_view::npos) continue;
    auto ok = read_parameter(parameter.substr(0, equals), parameter.substr(equals + 1), out);
    if (!ok) return tl::unexpected(std::move(ok.error()));
  }
  if (!out.v1_hash && !out.v2_hash) return refuse("no BitTorrent info-hash (xt=urn:btih:…)");
  return out;
}

std::string format_magnet(const Magnet& magnet) {
  std::string link(kScheme);
  if (magnet.v1_hash) link.append("xt=").append(kV1Prefix).append(magnet.v1_hash->hex());
  if (magnet.v2_hash) {
    if (magnet.v1_hash) link.push_back('&');
    link.append("xt=").append(kV2Prefix).append(kSha256Multihash).append(magnet.v2_hash->hex());
  }
  if (!magnet.name.empty()) append_parameter(link, "dn", magnet.name);
  if (magnet.length) append_parameter(link, "xl", std::to_string(*magnet.length));
  for (const std::string& tracker : magnet.trackers)
    append_parameter(link, "tr", tracker);
  for (const std::string& seed : magnet.web_seeds)
    append_parameter(link, "ws", seed);
  for (const auto& [host, port] : magnet.peers) {
    const bool v6 = host.find(':') != std::string::npos;
    // Not escaped: others expect "x.pe=[2001:db8::1]:6881" as BEP 9 shows it.
    link += "&x.pe=" + std::string(v6 ? "[" : "");
    for (const char c : host) {
      if (c == ':') {
        link.push_back(c);
      } else {
        append_percent_encoded(link, std::string_view(&c, 1));
      }
    }
    link += std::string(v6 ? "]" : "") + ":" + std::to_string(port);
  }
  if (!magnet.select_only.empty()) link += "&so=" + selection_text(magnet);
  return link;
}

Magnet magnet_of(const Metainfo& metainfo) {
  Magnet magnet;
  magnet.v1_hash = metainfo.v1_hash;
  magnet.v2_hash = metainfo.v2_hash;
  magnet.name = metainfo.name;
  for (const auto& tier : metainfo.tracker_tiers) {
    for (const std::string& url : tier)
      append_unique(magnet.trackers, url);
  }
  for (const std::string& url : metainfo.web_seeds)
    append_unique(magnet.web_seeds, url);
  return magnet;
}

}  // namespace penstock
