#include "nic_dpdk/eal.hh"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <semaphore>

#include <rte_alarm.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_memzone.h>
#include <sched.h>
#include <signal.h>

#include "host/cpu.hh"
#include "nic_dpdk/eal_log.hh"

namespace penstock::nic_dpdk {
namespace {

constexpr const char* kHugePages = "/sys/kernel/mm/hugepages";
constexpr const char* kVirtualBus = "vdev";
constexpr std::uint64_t kContentAlign = 2u << 20;  // a huge page

// The driver makes the group's number of the process's and the interface's.
constexpr std::string_view kSameFanout =
    "another net_af_packet of this machine has the same fanout group by chance: start it again";

// "01:00.0", "0000:01:00.0"; in full, or empty.
std::string pci_address(const std::string& text) {
  const auto matches = [&](std::string_view form) {
    return text.size() == form.size() &&
           std::equal(text.begin(), text.end(), form.begin(), [](char c, char f) {
             return f == 'x' ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : c == f;
           });
  };
  if (matches("xxxx:xx:xx.x")) return text;
  if (matches("xx:xx.x")) return "0000:" + text;
  return {};
}

// Bytes of hugepages of one size that nobody has taken; the largest such sum.
std::uint64_t free_hugepages() {
  std::uint64_t most = 0;
  std::error_code error;
  for (const auto& size : std::filesystem::directory_iterator(kHugePages, error)) {
    const std::string name = size.path().filename();  // "hugepages-2048kB"
    const std::size_t dash = name.find('-');
    if (dash == std::string::npos) continue;
    const std::uint64_t page = std::strtoull(name.c_str() + dash + 1, nullptr, 10) * 1024;
    std::ifstream file(size.path() / "free_hugepages");
    std::uint64_t count = 0;
    if (file >> count) most = std::max(most, count * page);
  }
  return most;
}

int bus_probe(const DeviceName& device) {
  return rte_eal_hotplug_add(kVirtualBus, device.name.c_str(), device.arguments.c_str());
}

std::string driver_of(const std::string& name) {
  const std::size_t end = name.find_last_not_of("0123456789");
  return name.substr(0, end + 1);
}

std::string package_of(const std::string& name) {
  std::string package = driver_of(name);
  std::replace(package.begin(), package.end(), '_', '-');
  return "librte-" + package + "23";
}

std::string remedy_for(const DeviceName& device, int error) {
  if (device.pci) {
    return "is it there (lspci -D), and bound to vfio-pci where its driver needs that "
           "(dpdk-devbind.py --status)?";
  }
  switch (error) {
    case EPERM:
    case EACCES:
      return "it needs CAP_NET_ADMIN and CAP_NET_RAW";
    case EEXIST:
      return "it exists already: give it another number";
    default:
      return "is the name a driver's (net_tap0, net_af_packet0), is " + package_of(device.name) +
             " installed, are its arguments right, and may we (CAP_NET_ADMIN, CAP_NET_RAW)?";
  }
}

}  // namespace

Result<DeviceName> parse_device(const std::string& text) {
  const std::size_t comma = text.find(',');
  DeviceName device;
  device.name = text.substr(0, comma);
  if (comma != std::string::npos) device.arguments = text.substr(comma + 1);
  if (const std::string pci = pci_address(device.name); !pci.empty()) {
    device.name = pci;
    device.pci = true;
    return device;
  }
  const bool numbered = !device.name.empty() && std::isdigit(device.name.back()) != 0;
  if (!device.name.starts_with("net_") || !numbered || device.name.size() >= RTE_DEV_NAME_MAX_LEN) {
    return fail("\"" + text +
                    "\": a DPDK device is expected, such as 0000:01:00.0, net_tap0,iface=seed0 or "
                    "net_af_packet0,iface=eth1",
                ErrorKind::usage);
  }
  return device;
}

// What is reserved for content is aligned, and EAL keeps a header beside it.
std::uint64_t total_memory(const EalOptions& options) {
  return options.memory + (options.content == 0 ? 0 : options.content + 2 * kContentAlign);
}

std::vector<std::string> eal_arguments(const EalOptions& options, bool hugepages,
                                       const std::vector<unsigned>& cpus) {
  // One lcore, on all processors that the thread may have: EAL pins nothing.
  std::string lcores = "0@(";
  for (const unsigned cpu : cpus)
    lcores += (lcores.back() == '(' ? "" : ",") + std::to_string(cpu);
  std::vector<std::string> words{"penstock",
                                 "--lcores",
                                 lcores + ")",
                                 "--no-telemetry",
                                 "--log-level",
                                 "warning",
                                 "--single-file-segments"};
  if (hugepages) {
    words.emplace_back("--in-memory");
  } else {
    // --in-memory refuses --no-huge.
    words.insert(words.end(), {"--no-huge", "--no-shconf", "-m",
                               std::to_string((total_memory(options) + (1u << 20) - 1) >> 20)});
  }
  bool pci = false;
  for (const DeviceName& device : options.devices) {
    if (!device.pci) continue;
    pci = true;
    words.insert(words.end(), {"-a", device.devargs()});
  }
  // Without a device that does DMA, addresses are just addresses.
  if (!pci) words.insert(words.end(), {"--no-pci", "--iova-mode", "va"});
  return words;
}

struct SignalGuard::Saved {
  sigset_t mask;
  std::array<struct sigaction, NSIG + 1> actions;
  std::array<bool, NSIG + 1> changed{};
};

SignalGuard::SignalGuard() : saved_(std::make_unique<Saved>()) {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &saved_->mask);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
    const auto at = static_cast<std::size_t>(number);
    struct sigaction& old = saved_->actions[at];
    if (::sigaction(number, nullptr, &old) != 0 || old.sa_handler != SIG_DFL) continue;
    saved_->changed[at] = ::sigaction(number, &ignore, nullptr) == 0;
  }
}

SignalGuard::~SignalGuard() {
  for (std::size_t number = 0; number < saved_->changed.size(); ++number) {
    if (!saved_->changed[number]) continue;
    ::sigaction(static_cast<int>(number), &saved_->actions[number], nullptr);
  }
  ::pthread_sigmask(SIG_SETMASK, &saved_->mask, nullptr);
}

Result<std::unique_ptr<Eal>> Eal::start(const EalOptions& options) {
  const bool hugepages = options.hugepages && free_hugepages() >= total_memory(options);
  std::vector<std::string> words = eal_arguments(options, hugepages, host::usable_cpus());
  std::vector<char*> argv;
  for (std::string& word : words)
    argv.push_back(word.data());
  argv.push_back(nullptr);

  catch_log();
  const SignalGuard guard;
  cpu_set_t affinity;
  const bool saved = ::sched_getaffinity(0, sizeof affinity, &affinity) == 0;
  const int begun = rte_eal_init(static_cast<int>(words.size()), argv.data());
  const int error = rte_errno;
  if (saved) ::sched_setaffinity(0, sizeof affinity, &affinity);
  if (begun < 0) {
    if (error == EALREADY) {
      return fail("DPDK can be started once in a process, and was", ErrorKind::failed);
    }
    const bool memory = error == ENOMEM || error == EACCES;
    return dpdk_error("DPDK", "can't start", error,
                      hugepages && memory
                          ? "PENSTOCK_DISABLE=hugepages does without hugepages"
                          : "are its drivers installed (libdpdk-dev, librte-*23), and may we use "
                            "the named devices?");
  }
  return std::unique_ptr<Eal>(new Eal(hugepages));
}

Eal::~Eal() {
  const SignalGuard guard;
  if (!kept_) rte_eal_cleanup();
}

bool Eal::run_between_interrupts(const std::function<void()>& action) {
  struct Call {
    const std::function<void()>& action;
    std::binary_semaphore done{0};
  } call{action};
  const auto run = [](void* opaque) {
    auto& asked = *static_cast<Call*>(opaque);
    asked.action();
    asked.done.release();
  };
  if (rte_eal_alarm_set(1, run, &call) != 0) return false;
  call.done.acquire();
  return true;
}

Result<std::uint16_t> Eal::open(const DeviceName& device) {
  const std::string where = "DPDK device " + device.devargs();
  const SignalGuard guard;
  static_cast<void>(take_complaints());
  std::uint16_t port = 0;
  if (!device.pci) {
    // Hotplug calls it a success when the device is there already.
    const bool there = rte_eth_dev_get_port_by_name(device.name.c_str(), &port) == 0;
    if (const int made = there ? -EEXIST : bus_probe(device); made != 0) {
      return dpdk_error(where, "can't be made", made, remedy_for(device, std::abs(made)));
    }
  }
  if (const int found = rte_eth_dev_get_port_by_name(device.name.c_str(), &port); found != 0) {
    return dpdk_error(where, "has no port", found, remedy_for(device, std::abs(found)));
  }
  return port;
}

void Eal::forget(const DeviceName& device) {
  const SignalGuard guard;
  if (!device.pci) rte_eal_hotplug_remove(kVirtualBus, device.name.c_str());
}

Result<std::span<std::byte>> Eal::reserve(std::uint64_t bytes) {
  static_cast<void>(take_complaints());
  const rte_memzone* const zone =
      rte_memzone_reserve_aligned("penstock_content", bytes, SOCKET_ID_ANY, 0, kContentAlign);
  if (zone != nullptr) return std::span(static_cast<std::byte*>(zone->addr), bytes);
  return dpdk_error("DPDK", "has no memory for content", rte_errno,
                    hugepages_ ? "more hugepages are needed (sysctl vm.nr_hugepages), or none "
                                 "(PENSTOCK_DISABLE=hugepages)"
                               : "a smaller --cache may do");
}

Result<void> Eal::join_thread() {
  if (rte_lcore_id() != LCORE_ID_ANY) return {};
  if (rte_thread_register() == 0) return {};
  return dpdk_error("DPDK", "can't take in one more thread", rte_errno);
}

bool Eal::iova_is_virtual() {
  return rte_eal_iova_mode() == RTE_IOVA_VA;
}

tl::unexpected<Error> dpdk_error(std::string_view where, std::string_view what, int code,
                                 std::string_view remedy) {
  std::string text = std::string(where) + " " + std::string(what);
  if (const int error = std::abs(code); error != 0)
    text += ": " + std::string(std::strerror(error));
  if (const std::string log = take_complaints(); !log.empty()) {
    text += " (" + log + ")";
    if (log.find("PACKET_FANOUT") != std::string::npos) remedy = kSameFanout;
  }
  if (!remedy.empty()) text += ": " + std::string(remedy);
  return fail(std::move(text), ErrorKind::io);
}

}  // namespace penstock::nic_dpdk
