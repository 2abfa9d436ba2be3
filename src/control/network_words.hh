// What a user writes to say whose TCP, over which device and at which addresses, and its way to an
// OwnNetwork: one for the command line and the configuration file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "base/address.hh"
#include "control/own_network.hh"

namespace penstock::control {

struct NetworkWords {
  std::string backend = "auto";  // or kernel, tap, dpdk, xdp
  std::string interface;         // empty: tap0, for the TAP backend
  std::string device;
  std::vector<std::string> addresses;
  std::vector<std::string> gateways;
  bool offload = true;
  std::uint32_t mtu = 0;  // bytes; 0: as the device has it
};
inline constexpr std::uint32_t kMtuMin = 1280;  // IPv6's (RFC 8200 §5)
inline constexpr std::uint32_t kMtuMax = 9600;
inline constexpr const char* kBackends[] = {"auto", "kernel", "tap", "dpdk", "xdp"};

// How the words are called where the user wrote them.
struct NetworkNames {
  const char* backend;
  const char* interface;
  const char* device;
  const char* address;
  const char* gateway;
  const char* no_offload;
  const char* mtu;
  const char* listen;
  const char* is;     // between a name and its value
  const char* quote;  // around the value
};
extern const NetworkNames kOptionNames;  // "--backend dpdk"
extern const NetworkNames kConfigNames;  // "network.backend = \"dpdk\""

// What is wrong, and what to do; name: of the word that it is about, one of NetworkNames.
struct NetworkMistake {
  const char* name;
  std::string message;
};

// Puts another word in the place of "auto": the fastest backend that was given something to work
// with. Says which, and what a faster one would need; nothing if it wasn't "auto".
std::string choose_backend(NetworkWords& words, const NetworkNames& names);

// None: the kernel's TCP. After choose_backend(). listen: what is listened at; with own TCP that is
// every address, and `listen` says the ports.
[[nodiscard]] tl::expected<std::optional<OwnNetwork>, NetworkMistake> own_network(
    const NetworkWords& words, const NetworkNames& names, const std::vector<Endpoint>& listen);

}  // namespace penstock::control
