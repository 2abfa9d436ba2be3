// Who we are on the link, and which way packets go: addresses of ours, networks on the link,
// gateways. Fixed at construction.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/address.hh"
#include "net/interface.hh"
#include "wire/ethernet.hh"

namespace penstock::net {

// Index into Host::interfaces().
inline constexpr std::uint32_t kNoInterface = ~0u;

struct Route {
  std::uint32_t interface = kNoInterface;  // kNoInterface: nothing leads there
  IpAddress next_hop;
};

class Host {
 public:
  // At most 256 interfaces: they are searched one by one.
  Host(const wire::MacAddress& mac, std::uint16_t vlan, std::uint16_t mtu,
       std::span<const Interface> interfaces);

  [[nodiscard]] const wire::MacAddress& mac() const { return mac_; }
  [[nodiscard]] std::uint16_t vlan() const { return vlan_; }
  [[nodiscard]] std::uint16_t mtu() const { return mtu_; }
  [[nodiscard]] std::span<const Interface> interfaces() const { return interfaces_; }

  // kNoInterface: not ours.
  [[nodiscard]] std::uint32_t find_local(const IpAddress& address) const {
    for (std::uint32_t i = 0; i < interfaces_.size(); ++i) {
      if (interfaces_[i].address == address) return i;
    }
    return kNoInterface;
  }
  // Whether it is a multicast group that we have to listen to: all nodes, or the solicited-node
  // group of an address of ours (RFC 4861 §7.2.1).
  [[nodiscard]] bool is_own_group(const IpAddress& address) const;
  // The way to `remote`, from `local` if that isn't unspecified.
  [[nodiscard]] Route route(const IpAddress& remote, const IpAddress& local = {}) const;
  // Of a packet that came in by interface `index`: the way back.
  [[nodiscard]] Route route_from(std::uint32_t index, const IpAddress& remote) const;
  // Payload of a TCP segment without options on our link.
  [[nodiscard]] std::uint16_t mss(bool v4) const {
    return static_cast<std::uint16_t>(mtu_ - (v4 ? 40 : 60));
  }

 private:
  wire::MacAddress mac_;
  std::uint16_t vlan_;
  std::uint16_t mtu_;
  std::vector<Interface> interfaces_;
};

// Whether an address can't be that of a host that sends us a packet: unspecified, loopback, group,
// reserved (RFC 1122 §3.2.1.3, RFC 4291 §2.7), or in the wrong family's notation.
[[nodiscard]] bool is_bogon(const IpAddress& address, bool v4);

}  // namespace penstock::net
