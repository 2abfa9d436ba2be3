// The four numbers that name a connection.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "base/address.hh"

namespace penstock::tcp {

struct Flow {
  IpAddress local;
  IpAddress remote;
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;

  bool operator==(const Flow&) const = default;
};

using SipKey = std::array<std::uint64_t, 2>;

// The words of a flow, for a keyed hash.
template <class Hash>
void add_flow(Hash& hash, const Flow& flow) {
  std::array<std::uint64_t, 4> words;
  std::memcpy(words.data(), flow.local.bytes.data(), 16);
  std::memcpy(words.data() + 2, flow.remote.bytes.data(), 16);
  for (const std::uint64_t word : words)
    hash.add(word);
  hash.add(std::uint64_t{flow.local_port} << 16 | flow.remote_port);
}

}  // namespace penstock::tcp
