// DPDK's environment (EAL): one a process, kept on a short lead.
//
// - Only devices that were named are probed: no PCI scan unless one of them is a PCI device, and
//   virtual ones are made one by one, so that each has its own error message.
// - Hugepages if enough are free, else anonymous memory (--no-huge). Nothing is kept in files, and
//   there are no secondary processes.
// - The threads that EAL makes block all signals. net_tap would take a real-time signal, which the
//   kernel delivers to whichever thread it likes and which ends its poll(): it gets none (README).
// - The affinity of the calling thread is as it was. That thread is EAL's main lcore; others
//   call join_thread().
// - What EAL logs is kept, to be part of error messages, and goes neither to syslog nor stderr
//   (but for its own last words when it can't start at all).
//
// EAL can be started once in the life of a process. Owner: who opens the first port; outlives
// every port.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hh"

namespace penstock::nic_dpdk {

// "net_tap0,iface=seed0" or "0000:01:00.0,key=value": what it is called, and what its driver is to
// be told.
struct DeviceName {
  std::string name;  // of the port; that of a PCI device is in full
  std::string arguments;
  bool pci = false;

  [[nodiscard]] std::string devargs() const {
    return arguments.empty() ? name : name + "," + arguments;
  }
};
[[nodiscard]] Result<DeviceName> parse_device(const std::string& text);

struct EalOptions {
  std::vector<DeviceName> devices;  // that will be opened, all of them
  bool hugepages = true;            // if there are enough
  // For mempools and the drivers' queues, bytes.
  std::uint64_t memory = 128u << 20;
  std::uint64_t content = 0;  // and for `reserve`, bytes
};

// What EAL has in all, bytes.
[[nodiscard]] std::uint64_t total_memory(const EalOptions& options);
// What rte_eal_init is given. cpus: of the calling thread, at least one.
[[nodiscard]] std::vector<std::string> eal_arguments(const EalOptions& options, bool hugepages,
                                                     const std::vector<unsigned>& cpus);

class Eal {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Eal>> start(const EalOptions& options);
  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

  // Makes a virtual device, or finds the PCI device that `start` has probed: the number of its
  // port, neither configured nor started.
  [[nodiscard]] Result<std::uint16_t> open(const DeviceName& device);
  // Undoes `open` after the port was closed.
  void forget(const DeviceName& device);

  // Memory that processes at the other end of a device see, too; as long as this lives. Before the
  // first port: memif shows the other side only what EAL has first. Of EalOptions::content bytes at
  // most, aligned to 2 MiB; none of it is touched.
  [[nodiscard]] Result<std::span<std::byte>> reserve(std::uint64_t bytes);

  // Runs it in EAL's thread for interrupts, when that is done with those that came before, and
  // waits until it has run. False: EAL has no memory for that.
  [[nodiscard]] static bool run_between_interrupts(const std::function<void()>& action);
  // Once by every other thread that uses ports: mempools then keep a cache for it.
  [[nodiscard]] static Result<void> join_thread();
  // A device's driver leaves something behind for EAL's thread to look at: EAL isn't taken down,
  // and its memory stays until the process ends.
  void keep() { kept_ = true; }
  [[nodiscard]] bool hugepages() const { return hugepages_; }
  [[nodiscard]] static bool iova_is_virtual();

 private:
  explicit Eal(bool hugepages) : hugepages_(hugepages) {}
  const bool hugepages_;
  bool kept_ = false;
};

// "DPDK device net_tap0: WHAT: Permission denied (what its driver logged)", with what to do.
// code: an errno, of either sign.
[[nodiscard]] tl::unexpected<Error> dpdk_error(std::string_view where, std::string_view what,
                                               int code, std::string_view remedy = {});

// While it lives, the calling thread and those it makes take no signal, and no driver finds a
// real-time signal to take.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

}  // namespace penstock::nic_dpdk
