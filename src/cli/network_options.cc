#include "cli/network_options.hh"

#include <charconv>

namespace penstock::cli {
namespace {

// "10.0.0.2/24", "fd00::2/64"
Result<control::OwnNetwork::Address> parse_address(const std::string& text) {
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
  return control::OwnNetwork::Address{*ip, static_cast<std::uint8_t>(length), {}};
}

Result<void> name_device(const NetworkOptions& options, control::OwnNetwork& network) {
  using Driver = control::OwnNetwork::Driver;
  if (options.backend == "dpdk") {
    network.driver = Driver::dpdk;
    network.device = options.device;
    if (!network.device.empty()) return {};
    return fail(
        "--backend dpdk needs --device: a PCI address, or a virtual device such as "
        "net_tap0,iface=seed0",
        ErrorKind::usage);
  }
  network.device = options.interface;
  if (options.backend == "xdp") {
    network.driver = Driver::xdp;
    if (!network.device.empty()) return {};
    return fail("--backend xdp needs --interface: one of the kernel's (ip link lists them)",
                ErrorKind::usage);
  }
  if (network.device.empty()) network.device = "tap0";
  return {};
}

// A gateway is that of the addresses of its family.
Result<control::OwnNetwork> named_network(const NetworkOptions& options) {
  control::OwnNetwork network;
  if (auto named = name_device(options, network); !named) return tl::unexpected(named.error());
  network.offload = !options.no_offload;
  for (const std::string& text : options.addresses) {
    auto address = parse_address(text);
    if (!address) return tl::unexpected(std::move(address).error().context("--address"));
    network.addresses.push_back(*address);
  }
  if (network.addresses.empty() && options.backend != "xdp") {
    return fail("--backend " + options.backend +
                    " needs --address ADDR/PREFIX: an address of its own, not the host's",
                ErrorKind::usage);
  }
  for (const std::string& text : options.gateways) {
    auto gateway = parse_ip(text);
    if (!gateway) return tl::unexpected(std::move(gateway).error().context("--gateway"));
    bool used = false;
    for (auto& address : network.addresses) {
      if (address.address.is_v4() != gateway->is_v4()) continue;
      address.gateway = *gateway;
      used = true;
    }
    if (!used) {
      return fail("--gateway " + text + ": no --address is of its family", ErrorKind::usage);
    }
  }
  return network;
}

}  // namespace

void add_network_options(CLI::App& app, NetworkOptions& options) {
  app.add_option(
         "--backend", options.backend,
         "Whose TCP: the kernel's, or own over a TAP or a DPDK device or AF_XDP. auto: dpdk "
         "if a --device is named, else xdp if an --interface is, else kernel")
      ->type_name("auto|kernel|tap|dpdk|xdp")
      ->check(CLI::IsMember({"auto", "kernel", "tap", "dpdk", "xdp"}))
      ->capture_default_str();
  app.add_option("--interface", options.interface,
                 "For --backend tap (default: tap0) and xdp: the interface")
      ->type_name("NAME");
  app.add_option("--device", options.device,
                 "For --backend dpdk: a PCI address, or a virtual device and its arguments")
      ->type_name("DEVICE");
  app.add_option("--address", options.addresses,
                 "An address on it: ours alone, or, with xdp, of the interface (default: all)")
      ->type_name("ADDR/PREFIX")
      ->allow_extra_args(false);
  app.add_option("--gateway", options.gateways, "The way to other networks; once per family")
      ->type_name("ADDR")
      ->allow_extra_args(false);
  app.add_flag("--no-offload", options.no_offload,
               "Cut segments and sum them ourselves, not by the device");
}

std::string choose_backend(NetworkOptions& options) {
  if (options.backend != "auto") return "";
  if (!options.device.empty()) {
    options.backend = "dpdk";
    return "backend dpdk: --device names " + options.device;
  }
  if (!options.interface.empty()) {
    options.backend = "xdp";
    return "backend xdp: --interface names " + options.interface + " (dpdk would need a --device)";
  }
  options.backend = "kernel";
  return "backend kernel: no --device for dpdk, no --interface for xdp";
}

Result<std::optional<control::OwnNetwork>> own_network(const NetworkOptions& options) {
  if (!options.device.empty() && options.backend != "dpdk") {
    return fail("--device is for --backend dpdk", ErrorKind::usage);
  }
  if (!options.interface.empty() && options.backend != "tap" && options.backend != "xdp") {
    return fail("--interface is for --backend tap and xdp", ErrorKind::usage);
  }
  if (options.backend != "kernel") {
    auto network = named_network(options);
    if (!network) return tl::unexpected(std::move(network).error());
    return std::optional(std::move(*network));
  }
  if (!options.addresses.empty() || !options.gateways.empty() || options.no_offload) {
    return fail("--address, --gateway and --no-offload are for --backend tap, dpdk and xdp",
                ErrorKind::usage);
  }
  return std::nullopt;
}

}  // namespace penstock::cli
