#include "net/host.hh"

#include <cstring>

#include "base/assert.hh"
#include "base/endian.hh"
#include "wire/ndp.hh"

namespace penstock::net {
namespace {

// Both of one family. `length`: of the prefix, bits, counted within that family's address.
bool same_prefix(const IpAddress& a, const IpAddress& b, std::uint32_t length) {
  const bool v4 = a.is_v4();
  const std::size_t bits = (v4 ? 96 : 0) + length;
  const std::size_t whole = bits / 8;
  if (std::memcmp(a.bytes.data(), b.bytes.data(), whole) != 0) return false;
  if (bits % 8 == 0) return true;
  const auto differ = static_cast<unsigned>(a.bytes[whole] ^ b.bytes[whole]);
  return differ >> (8 - bits % 8) == 0;
}

bool is_link_local(const IpAddress& address) {
  return address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

bool on_link(const Interface& interface, const IpAddress& remote) {
  return same_prefix(interface.address, remote, interface.prefix_length) ||
         (!remote.is_v4() && is_link_local(remote));
}

}  // namespace

Host::Host(const wire::MacAddress& mac, std::uint16_t vlan, std::uint16_t mtu,
           std::span<const Interface> interfaces)
    : mac_(mac), vlan_(vlan), mtu_(mtu), interfaces_(interfaces.begin(), interfaces.end()) {
  ASSERT(interfaces_.size() <= 256);
  for (const Interface& interface : interfaces_)
    ASSERT(interface.prefix_length <= (interface.address.is_v4() ? 32 : 128));
}

bool Host::is_own_group(const IpAddress& address) const {
  if (address.bytes[0] != 0xff) return false;
  if (address == wire::all_nodes()) return true;
  for (const Interface& interface : interfaces_) {
    if (!interface.address.is_v4() && wire::solicited_node(interface.address) == address)
      return true;
  }
  return false;
}

Route Host::route_from(std::uint32_t index, const IpAddress& remote) const {
  const Interface& interface = interfaces_[index];
  if (on_link(interface, remote)) return {index, remote};
  if (interface.gateway.is_unspecified()) return {};
  return {index, interface.gateway};
}

Route Host::route(const IpAddress& remote, const IpAddress& local) const {
  const bool v4 = remote.is_v4();
  Route by_gateway;
  for (std::uint32_t i = 0; i < interfaces_.size(); ++i) {
    const Interface& interface = interfaces_[i];
    if (interface.address.is_v4() != v4) continue;
    if (!local.is_unspecified() && interface.address != local) continue;
    const Route found = route_from(i, remote);
    if (found.interface == kNoInterface) continue;
    if (found.next_hop == remote) return found;
    if (by_gateway.interface == kNoInterface) by_gateway = found;
  }
  return by_gateway;
}

bool is_bogon(const IpAddress& address, bool v4) {
  const auto& b = address.bytes;
  if (v4) return b[12] == 0 || b[12] == 127 || b[12] >= 224;
  if (b[0] == 0xff) return true;
  // ::, ::1 and the rest of ::/96; ::ffff:0:0/96, which is IPv4 in our notation.
  if (load_be64(b.data()) != 0) return false;
  const std::uint32_t third = load_be32(b.data() + 8);
  return third == 0 || third == 0x0000ffff;
}

}  // namespace penstock::net
