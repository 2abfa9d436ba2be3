#include "control/network_words.hh"

#include <charconv>

namespace penstock::control {

const NetworkNames kOptionNames{.backend = "--backend",
                                .interface = "--interface",
                                .device = "--device",
                                .address = "--address",
                                .gateway = "--gateway",
                                .no_offload = "--no-offload",
                                .mtu = "--mtu",
                                .listen = "--listen",
                                .is = " ",
                                .quote = ""};
const NetworkNames kConfigNames{.backend = "network.backend",
                                .interface = "network.interface",
                                .device = "network.device",
                                .address = "network.addresses",
                                .gateway = "network.gateways",
                                .no_offload = "network.offload",
                                .mtu = "network.mtu",
                                .listen = "listen.addresses",
                                .is = " = ",
                                .quote = "\""};

namespace {

using Driver = OwnNetwork::Driver;
using Mistake = tl::unexpected<NetworkMistake>;

Mistake mistake(const char* name, std::string message) {
  return Mistake(NetworkMistake{name, std::move(message)});
}

// "10.0.0.2/24", "fd00::2/64"
Result<OwnNetwork::Address> parse_address(const std::string& text) {
  const std::size_t slash = text.find('/');
  auto ip = parse_ip(text.substr(0, slash));
  if (!ip) return tl::unexpected(std::move(ip).error());
  const int most = ip->is_v4() ? 32 : 128;
  int length = 0;
  const char* const begin = slash == std::string::npos ? "" : text.c_str() + slash + 1;
  const char* const end = text.c_str() + text.size();
  const auto parsed = std::from_chars(begin, end, length);
  if (slash == std::string::npos || parsed.ec != std::errc{} || parsed.ptr != end || length < 1 ||
      length > most) {
    return fail("\"" + text + "\": ADDR/PREFIX is expected, such as 10.0.0.2/24 or fd00::2/64",
                ErrorKind::usage);
  }
  return OwnNetwork::Address{*ip, static_cast<std::uint8_t>(length), {}};
}

// The steps from words to an OwnNetwork; each leaves early with what is wrong.
class Reader {
 public:
  Reader(const NetworkWords& words, const NetworkNames& names) : words_(words), names_(names) {}

  tl::expected<std::optional<OwnNetwork>, NetworkMistake> read(
      const std::vector<Endpoint>& listen) {
    if (auto checked = check_unused(); !checked) return Mistake(checked.error());
    if (words_.backend == "kernel") return std::nullopt;
    for (auto step : {&Reader::name_device, &Reader::read_addresses, &Reader::read_gateways}) {
      if (auto done = (this->*step)(); !done) return Mistake(done.error());
    }
    if (auto checked = check_listen(listen); !checked) return Mistake(checked.error());
    network_.offload = words_.offload;
    network_.mtu = static_cast<std::uint16_t>(words_.mtu);
    return std::optional(std::move(network_));
  }

 private:
  using Done = tl::expected<void, NetworkMistake>;

  [[nodiscard]] std::string backend(const std::string& word) const {
    return std::string(names_.backend) + names_.is + names_.quote + word + names_.quote;
  }

  // Words that the backend has no use for.
  Done check_unused() const {
    const std::string& chosen = words_.backend;
    if (!words_.device.empty() && chosen != "dpdk")
      return mistake(names_.device, std::string(names_.device) + " is for " + backend("dpdk"));
    if (!words_.interface.empty() && chosen != "tap" && chosen != "xdp") {
      return mistake(names_.interface,
                     std::string(names_.interface) + " is for " + backend("tap") + " and xdp");
    }
    if (words_.mtu != 0 && chosen != "dpdk") {
      return mistake(names_.mtu, std::string(names_.mtu) + " is for " + backend("dpdk") +
                                     ": interfaces of the kernel's have theirs (ip link)");
    }
    if (words_.mtu != 0 && (words_.mtu < kMtuMin || words_.mtu > kMtuMax)) {
      return mistake(names_.mtu, std::string(names_.mtu) + ": from " + std::to_string(kMtuMin) +
                                     " to " + std::to_string(kMtuMax));
    }
    if (chosen != "kernel") return {};
    const char* const unused = !words_.addresses.empty()  ? names_.address
                               : !words_.gateways.empty() ? names_.gateway
                               : !words_.offload          ? names_.no_offload
                                                          : nullptr;
    if (unused == nullptr) return {};
    return mistake(unused, std::string(names_.address) + ", " + names_.gateway + " and " +
                               names_.no_offload + " are for " + backend("tap") + ", dpdk and xdp");
  }

  Done name_device() {
    if (words_.backend == "dpdk") {
      network_.driver = Driver::dpdk;
      network_.device = words_.device;
      if (!network_.device.empty()) return {};
      return mistake(names_.backend, backend("dpdk") + " needs " + names_.device +
                                         ": a PCI address, or a virtual device such as "
                                         "net_tap0,iface=seed0");
    }
    network_.device = words_.interface;
    if (words_.backend == "xdp") {
      network_.driver = Driver::xdp;
      if (!network_.device.empty()) return {};
      return mistake(names_.backend, backend("xdp") + " needs " + names_.interface +
                                         ": one of the kernel's (ip link lists them)");
    }
    if (network_.device.empty()) network_.device = "tap0";
    return {};
  }

  Done read_addresses() {
    for (const std::string& text : words_.addresses) {
      auto address = parse_address(text);
      if (!address)
        return mistake(names_.address,
                       std::string(names_.address) + ": " + address.error().message);
      network_.addresses.push_back(*address);
    }
    if (!network_.addresses.empty() || network_.driver == Driver::xdp) return {};
    return mistake(names_.backend, backend(words_.backend) + " needs " + names_.address +
                                       " ADDR/PREFIX: an address of its own, not the host's");
  }

  // A gateway is that of the addresses of its family.
  Done read_gateways() {
    for (const std::string& text : words_.gateways) {
      auto gateway = parse_ip(text);
      if (!gateway)
        return mistake(names_.gateway,
                       std::string(names_.gateway) + ": " + gateway.error().message);
      bool used = false;
      for (OwnNetwork::Address& address : network_.addresses) {
        if (address.address.is_v4() != gateway->is_v4()) continue;
        address.gateway = *gateway;
        used = true;
      }
      if (!used) {
        return mistake(names_.gateway, std::string(names_.gateway) + " " + text + ": no " +
                                           names_.address + " is of its family");
      }
    }
    return {};
  }

  Done check_listen(const std::vector<Endpoint>& listen) const {
    for (const Endpoint& endpoint : listen) {
      bool ours = endpoint.ip.is_unspecified() || endpoint.ip == IpAddress::v4(0, 0, 0, 0);
      for (const OwnNetwork::Address& address : network_.addresses)
        ours |= address.address == endpoint.ip;
      if (!ours) {
        return mistake(names_.listen, std::string(names_.listen) + " " + endpoint.to_string() +
                                          ": with " + backend(words_.backend) + ", give :PORT");
      }
      if (endpoint.port == 0)
        return mistake(names_.listen, std::string(names_.listen) + ": a port that isn't 0");
    }
    return {};
  }

  const NetworkWords& words_;
  const NetworkNames& names_;
  OwnNetwork network_;
};

}  // namespace

std::string choose_backend(NetworkWords& words, const NetworkNames& names) {
  if (words.backend != "auto") return "";
  if (!words.device.empty()) {
    words.backend = "dpdk";
    return std::string("backend dpdk: ") + names.device + " names " + words.device;
  }
  if (!words.interface.empty()) {
    words.backend = "xdp";
    return std::string("backend xdp: ") + names.interface + " names " + words.interface +
           " (dpdk would need " + names.device + ")";
  }
  words.backend = "kernel";
  return std::string("backend kernel: no ") + names.device + " for dpdk, no " + names.interface +
         " for xdp";
}

tl::expected<std::optional<OwnNetwork>, NetworkMistake> own_network(
    const NetworkWords& words, const NetworkNames& names, const std::vector<Endpoint>& listen) {
  return Reader(words, names).read(listen);
}

}  // namespace penstock::control
