#include "cli/network_options.hh"

namespace penstock::cli {

void add_network_options(CLI::App& app, control::NetworkWords& words) {
  app.add_option(
         "--backend", words.backend,
         "Whose TCP: the kernel's, or own over a TAP or a DPDK device or AF_XDP. auto: dpdk "
         "if a --device is named, else xdp if an --interface is, else kernel")
      ->type_name("auto|kernel|tap|dpdk|xdp")
      ->check(CLI::IsMember({"auto", "kernel", "tap", "dpdk", "xdp"}))
      ->capture_default_str();
  app.add_option("--interface", words.interface,
                 "For --backend tap (default: tap0) and xdp: the interface")
      ->type_name("NAME");
  app.add_option("--device", words.device,
                 "For --backend dpdk: a PCI address, or a virtual device and its arguments")
      ->type_name("DEVICE");
  app.add_option("--address", words.addresses,
                 "An address on it: ours alone, or, with xdp, of the interface (default: all)")
      ->type_name("ADDR/PREFIX")
      ->allow_extra_args(false);
  app.add_option("--gateway", words.gateways, "The way to other networks; once per family")
      ->type_name("ADDR")
      ->allow_extra_args(false);
  app.add_option("--mtu", words.mtu,
                 "For --backend dpdk: the largest IP packet (default: as the device has it)")
      ->type_name("BYTES");
  app.add_flag("--no-offload{false}", words.offload,
               "Cut segments and sum them ourselves, not by the device");
}

Result<std::optional<control::OwnNetwork>> own_network(const control::NetworkWords& words,
                                                       const std::vector<Endpoint>& listen) {
  auto network = control::own_network(words, control::kOptionNames, listen);
  if (!network) return fail(std::move(network).error().message, ErrorKind::usage);
  return std::move(*network);
}

}  // namespace penstock::cli
