// Reads file names, one a line, and prints what load_metainfo() makes of each as one line of JSON:
//   {"file":"a.torrent","ok":true,"v1":"<hex>","v2":"<hex>","files":3,"pieces":7,"size":123,
//    "single":false,"name":"…","paths":["…"]}
//   {"file":"b.torrent","ok":false,"error":"…"}
// Paths (padding left out) come only with --paths.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/metainfo_identity.hh"

namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || c == '"' || c == '\\') {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::string describe(const penstock::Metainfo& m, bool paths) {
  std::string line = ",\"ok\":true,\"v1\":";
  line += m.v1_hash ? quoted(m.v1_hash->hex()) : "null";
  line += ",\"v2\":";
  line += m.v2_hash ? quoted(m.v2_hash->hex()) : "null";
  std::size_t stored = 0;
  std::uint64_t bytes = 0;
  for (const auto& file : m.files) {
    if (file.padding) continue;
    ++stored;
    bytes += file.length;
  }
  line += ",\"files\":" + std::to_string(stored);
  line += ",\"bytes\":" + std::to_string(bytes);
  line += ",\"pieces\":" + std::to_string(m.blocks.piece_count());
  line += ",\"total\":" + std::to_string(m.blocks.total_size);
  line += ",\"piece_size\":" + std::to_string(m.blocks.piece_size);
  line += std::string(",\"single\":") + (m.single_file ? "true" : "false");
  line += std::string(",\"private\":") + (m.is_private ? "true" : "false");
  line += ",\"name\":" + quoted(m.name);
  if (!paths) return line + "}";
  line += ",\"paths\":[";
  bool first = true;
  for (const auto& file : m.files) {
    if (file.padding) continue;
    if (!first) line.push_back(',');
    first = false;
    line += quoted(file.path);
  }
  return line + "]}";
}

}  // namespace

int main(int argc, char** argv) {
  const bool paths = argc > 1 && std::string_view(argv[1]) == "--paths";
  std::ios::sync_with_stdio(false);
  std::string name;
  while (std::getline(std::cin, name)) {
    std::ifstream in(name, std::ios::binary | std::ios::ate);
    std::vector<char> bytes(in ? static_cast<std::size_t>(in.tellg()) : 0);
    in.seekg(0);
    in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    const auto metainfo = penstock::load_metainfo(std::as_bytes(std::span(bytes)));
    std::cout << "{\"file\":" << quoted(name);
    if (metainfo) {
      std::cout << describe(*metainfo, paths) << '\n';
    } else {
      std::cout << ",\"ok\":false,\"error\":" << quoted(metainfo.error().message) << "}\n";
    }
  }
  return 0;
}
