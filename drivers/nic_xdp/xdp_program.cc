#include "nic_xdp/xdp_program.hh"

#include <cerrno>
#include <cstddef>
#include <cstring>

#include <linux/if_link.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/errors.hh"
#include "nic_xdp/bpf_assembler.hh"

namespace penstock::nic_xdp {
namespace {

using Size = BpfAssembler::Size;
using When = BpfAssembler::When;
using enum Reg;

constexpr std::uint8_t kTcp = 6, kUdp = 17;
// RFC 8200 §4.1: hop-by-hop options, routing, fragment, destination options.
constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestination = 60;
// More extension headers than anybody sends; behind them nothing is found, and it is passed.
constexpr int kExtensionsMax = 4;

constexpr std::uint16_t be16(std::uint16_t value) {
  return static_cast<std::uint16_t>(value << 8 | value >> 8);
}

// r7 is the header that is looked at, r8 the frame's end, r9 the context; r2, r3 and r4 are
// scratch; r3 carries the protocol from the IP header to the ports.
class Classifier {
 public:
  explicit Classifier(const ProgramOptions& options) : options_(options) {
    for (const IpAddress& address : options.addresses)
      (address.is_v4() ? has_v4_ : has_v6_) = true;
  }

  std::vector<bpf_insn> write(int map_fd) {
    code_.move(r9, r1);
    if (!options_.exclusive) {
      ethernet();
      if (has_v4_) ipv4();
      if (has_v6_) ipv6();
      ports();
      code_.bind(ours_);
    }
    code_.load(Size::b4, r2, r9, offsetof(xdp_md, rx_queue_index));
    code_.load_map(r1, map_fd);
    code_.move(r3, XDP_DROP);  // where no socket is
    code_.call(BPF_FUNC_redirect_map);
    code_.exit();
    if (!options_.exclusive) {
      code_.bind(pass_);
      code_.move(r0, XDP_PASS);
      code_.exit();
    }
    return code_.finish();
  }

 private:
  // Passes frames that end before `size` bytes behind r7.
  void need(std::int32_t size) {
    code_.move(r2, r7);
    code_.add(r2, size);
    code_.jump_if(When::above, r2, r8, pass_);
  }

  void ethernet() {
    code_.load(Size::b4, r7, r9, offsetof(xdp_md, data));
    code_.load(Size::b4, r8, r9, offsetof(xdp_md, data_end));
    need(wire::kEthernetSize);
    std::uint32_t mac_begin;
    std::uint16_t mac_end;
    std::memcpy(&mac_begin, options_.mac.bytes.data(), 4);
    std::memcpy(&mac_end, options_.mac.bytes.data() + 4, 2);
    code_.load(Size::b4, r2, r7, 0);
    code_.jump_if32(When::not_equal, r2, mac_begin, pass_);
    code_.load(Size::b2, r2, r7, 4);
    code_.jump_if32(When::not_equal, r2, mac_end, pass_);
    code_.load(Size::b2, r2, r7, 12);
    code_.add(r7, wire::kEthernetSize);
    if (has_v4_) code_.jump_if32(When::equal, r2, be16(wire::EtherType::ipv4), v4_);
    if (has_v6_) code_.jump_if32(When::equal, r2, be16(wire::EtherType::ipv6), v6_);
    code_.jump(pass_);
  }

  void version(std::uint32_t version) {
    code_.load(Size::b1, r3, r7, 0);
    code_.mask(r3, 0xf0);
    code_.jump_if32(When::not_equal, r3, version << 4, pass_);
  }

  void ipv4() {
    const auto found = code_.make_label();
    code_.bind(v4_);
    need(20);
    version(4);
    code_.load(Size::b4, r3, r7, 16);
    for (const IpAddress& address : options_.addresses) {
      if (!address.is_v4()) continue;
      std::uint32_t bytes;
      std::memcpy(&bytes, address.bytes.data() + 12, 4);
      code_.jump_if32(When::equal, r3, bytes, found);
    }
    code_.jump(pass_);
    code_.bind(found);
    code_.load(Size::b2, r3, r7, 6);
    code_.mask(r3, be16(0x1fff));
    code_.jump_if32(When::not_equal, r3, 0, pass_);  // a later fragment
    code_.load(Size::b1, r3, r7, 9);
    code_.load(Size::b1, r2, r7, 0);
    code_.mask(r2, 0x0f);
    code_.shift_left(r2, 2);
    code_.jump_if32(When::below, r2, 20, pass_);
    code_.add(r7, r2);
    code_.jump(transport_);
  }

  void ipv6() {
    const auto found = code_.make_label();
    code_.bind(v6_);
    need(40);
    version(6);
    for (const IpAddress& address : options_.addresses) {
      if (address.is_v4()) continue;
      std::uint64_t words[2];
      std::memcpy(words, address.bytes.data(), 16);
      const auto next = code_.make_label();
      for (int i = 0; i < 2; ++i) {
        code_.load(Size::b8, r2, r7, static_cast<std::int16_t>(24 + 8 * i));
        code_.load_constant(r4, words[i]);
        code_.jump_if(When::not_equal, r2, r4, next);
      }
      code_.jump(found);
      code_.bind(next);
    }
    code_.jump(pass_);
    code_.bind(found);
    code_.load(Size::b1, r3, r7, 6);
    code_.add(r7, 40);
    for (int i = 0; i < kExtensionsMax; ++i)
      extension();
    code_.jump(transport_);
  }

  // Over one extension header, if r3 says that r7 is at one.
  void extension() {
    const auto options = code_.make_label();
    const auto next = code_.make_label();
    code_.jump_if32(When::equal, r3, kHopByHop, options);
    code_.jump_if32(When::equal, r3, kRouting, options);
    code_.jump_if32(When::equal, r3, kDestination, options);
    code_.jump_if32(When::not_equal, r3, kFragment, transport_);
    need(8);
    code_.load(Size::b2, r2, r7, 2);
    code_.mask(r2, be16(0xfff8));
    code_.jump_if32(When::not_equal, r2, 0, pass_);  // a later fragment
    code_.load(Size::b1, r3, r7, 0);
    code_.add(r7, 8);
    code_.jump(next);
    code_.bind(options);
    need(8);
    code_.load(Size::b1, r3, r7, 0);
    code_.load(Size::b1, r2, r7, 1);
    code_.add(r2, 1);
    code_.shift_left(r2, 3);
    code_.add(r7, r2);
    code_.bind(next);
  }

  void ports() {
    const auto udp = code_.make_label();
    code_.bind(transport_);
    need(4);
    code_.load(Size::b2, r2, r7, 2);
    code_.from_be16(r2);
    code_.jump_if32(When::equal, r3, kUdp, udp);
    code_.jump_if32(When::not_equal, r3, kTcp, pass_);
    among(options_.tcp);
    code_.bind(udp);
    among(options_.udp);
  }

  void among(const std::vector<PortRange>& ranges) {
    for (const PortRange& range : ranges) {
      const auto next = code_.make_label();
      code_.jump_if32(When::below, r2, range.first, next);
      code_.jump_if32(When::at_most, r2, range.last, ours_);
      code_.bind(next);
    }
    code_.jump(pass_);
  }

  const ProgramOptions& options_;
  bool has_v4_ = false;
  bool has_v6_ = false;
  BpfAssembler code_;
  BpfAssembler::Label v4_ = code_.make_label();
  BpfAssembler::Label v6_ = code_.make_label();
  BpfAssembler::Label transport_ = code_.make_label();
  BpfAssembler::Label ours_ = code_.make_label();
  BpfAssembler::Label pass_ = code_.make_label();
};

int call_bpf(bpf_cmd command, bpf_attr& attributes) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

std::uint64_t address_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

tl::unexpected<Error> no_bpf(const std::string& what, int error) {
  if (error == EPERM) {
    return fail(what +
                    ": not permitted: this needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF of the "
                    "machine, not of a container: run as root, or once: sudo setcap "
                    "cap_net_admin,cap_net_raw,cap_bpf+ep PROGRAM",
                ErrorKind::io);
  }
  if (error == ENOSYS) return fail(what + ": this kernel has no bpf(2)", ErrorKind::io);
  return host::os_error(what, error);
}

Result<host::Fd> make_socket_map(std::uint32_t queues) {
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_XSKMAP;
  attributes.key_size = sizeof(std::uint32_t);
  attributes.value_size = sizeof(std::uint32_t);
  attributes.max_entries = queues;
  std::strcpy(attributes.map_name, "penstock_xsk");
  host::Fd map(call_bpf(BPF_MAP_CREATE, attributes));
  if (!map.valid()) return no_bpf("making a BPF map of sockets", errno);
  return map;
}

Result<host::Fd> load_program(const std::vector<bpf_insn>& code, bool multi_buffer) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_XDP;
  attributes.expected_attach_type = BPF_XDP;
  attributes.insns = address_of(code.data());
  attributes.insn_cnt = static_cast<std::uint32_t>(code.size());
  attributes.license = address_of("Apache-2.0");
  attributes.prog_flags = multi_buffer ? BPF_F_XDP_HAS_FRAGS : 0;
  std::strcpy(attributes.prog_name, "penstock");
  host::Fd program(call_bpf(BPF_PROG_LOAD, attributes));
  if (program.valid()) return program;
  const int error = errno;
  if (error == EPERM) return no_bpf("loading the XDP program", error);
  // What the verifier has to say is of use to developers, and its last lines most of all.
  std::vector<char> log(1u << 18);
  attributes.log_level = 1;
  attributes.log_buf = address_of(log.data());
  attributes.log_size = static_cast<std::uint32_t>(log.size());
  host::Fd again(call_bpf(BPF_PROG_LOAD, attributes));
  if (again.valid()) return again;
  const std::string text(log.data());
  return no_bpf(
      "loading the XDP program (" + text.substr(text.size() > 400 ? text.size() - 400 : 0) + ")",
      error);
}

}  // namespace

std::vector<bpf_insn> assemble(const ProgramOptions& options, int map_fd) {
  return Classifier(options).write(map_fd);
}

Result<XdpProgram> XdpProgram::load(const ProgramOptions& options, std::uint32_t queues,
                                    bool multi_buffer) {
  const bool nothing = options.addresses.empty() || (options.tcp.empty() && options.udp.empty());
  if (!options.exclusive && nothing)
    return fail("an XDP program without an address and a port of ours would give us nothing");
  XdpProgram program;
  auto map = make_socket_map(queues);
  if (!map) return tl::unexpected(std::move(map).error());
  program.sockets_ = std::move(*map);
  auto loaded = load_program(assemble(options, program.sockets_.get()), multi_buffer);
  if (!loaded) return tl::unexpected(std::move(loaded).error());
  program.program_ = std::move(*loaded);
  return program;
}

Result<void> XdpProgram::attach(unsigned interface_index, const std::string& interface,
                                AttachMode mode) {
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<std::uint32_t>(program_.get());
  attributes.link_create.target_ifindex = interface_index;
  attributes.link_create.attach_type = BPF_XDP;
  const auto try_to = [&](std::uint32_t flags) {
    attributes.link_create.flags = flags;
    link_ = host::Fd(call_bpf(BPF_LINK_CREATE, attributes));
    return link_.valid() ? 0 : errno;
  };
  const auto occupied = [&] {
    return fail("interface " + interface +
                    " has an XDP program of somebody else's: end that, or take it off (ip link set "
                    "dev " +
                    interface + " xdp off; look: ip -details link show dev " + interface + ")",
                ErrorKind::io);
  };
  int error = 0;
  if (mode == AttachMode::best) {
    error = try_to(XDP_FLAGS_DRV_MODE);
    if (error == 0) {
      in_driver_ = true;
      return {};
    }
    if (error == EBUSY || error == EEXIST) return occupied();
    if (error == EPERM) return no_bpf("attaching the XDP program to " + interface, error);
    driver_trouble_ = std::strerror(error);
  }
  error = try_to(XDP_FLAGS_SKB_MODE);
  if (error == 0) return {};
  if (error == EBUSY || error == EEXIST) return occupied();
  return no_bpf("attaching the XDP program to " + interface, error);
}

Result<void> XdpProgram::set_socket(std::uint32_t queue, int socket) {
  bpf_attr attributes{};
  attributes.map_fd = static_cast<std::uint32_t>(sockets_.get());
  attributes.key = address_of(&queue);
  attributes.value = address_of(&socket);
  if (call_bpf(BPF_MAP_UPDATE_ELEM, attributes) != 0)
    return no_bpf("queue " + std::to_string(queue) + ": giving its frames to us", errno);
  return {};
}

}  // namespace penstock::nic_xdp
