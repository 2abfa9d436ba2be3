#include "nic_xdp/kernel_copies.hh"

#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include "host/errors.hh"
#include "wire/ethernet.hh"

namespace penstock::nic_xdp {
namespace {

constexpr std::uint32_t kSlots = 64;  // a burst
// Answers are small, and an ICMP error quotes no more than 1,280 bytes of packet (RFC 4443 §2.4).
constexpr std::uint32_t kSlotSize = 2048;
constexpr std::uint32_t kBlockSize = 1u << 16;
static_assert(kSlots * kSlotSize % kBlockSize == 0);

constexpr std::uint32_t kPass = 0xffffffff;
constexpr std::uint16_t kArpReply = 2;
constexpr std::uint8_t kIcmp = 1, kIcmp6 = 58;
constexpr std::uint8_t kUnreachable = 3;      // RFC 792; packet too big is among them
constexpr std::uint8_t kTooBig6 = 2;          // RFC 4443 §3; 1 is unreachable
constexpr std::uint8_t kAdvertisement = 136;  // RFC 4861 §4.4
constexpr auto kPacketType = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE);
constexpr std::uint32_t kToThisHost = 0;  // PACKET_HOST

// Jumps count the instructions between; the last two are "take it" and "leave it".
const std::array<sock_filter, 22> kFilter{{
    /* 0 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kPacketType),
    /* 1 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kToThisHost, 0, 19),
    /* 2 */ BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
    /* 3 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wire::EtherType::arp, 0, 2),
    /* 4 */ BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 20),
    /* 5 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArpReply, 14, 15),
    /* 6 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wire::EtherType::ipv4, 0, 7),
    /* 7 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23),
    /* 8 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kIcmp, 0, 12),
    /* 9 */ BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 20),
    /* 10 */ BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 10, 0),
    /* 11 */ BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 14),
    /* 12 */ BPF_STMT(BPF_LD | BPF_B | BPF_IND, 14),
    /* 13 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kUnreachable, 6, 7),
    /* 14 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wire::EtherType::ipv6, 0, 6),
    /* 15 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 20),
    /* 16 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kIcmp6, 0, 4),
    /* 17 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 54),
    /* 18 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kAdvertisement, 1, 0),
    /* 19 */ BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kTooBig6, 1, 0),
    /* 20 */ BPF_STMT(BPF_RET | BPF_K, kPass),
    /* 21 */ BPF_STMT(BPF_RET | BPF_K, 0),
}};

}  // namespace

Result<KernelCopies> KernelCopies::open(unsigned interface_index) {
  const std::string what = "packet socket for ARP, NDP and ICMP";
  KernelCopies copies;
  // Protocol 0: silent until it is bound, so that nothing comes in past the filter.
  copies.fd_ = host::Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!copies.fd_.valid()) {
    if (errno == EPERM) return fail(what + ": not permitted: it needs CAP_NET_RAW", ErrorKind::io);
    return host::os_error(what, errno);
  }
  const int fd = copies.fd_.get();
  const int version = TPACKET_V2;
  const int on = 1;
  tpacket_req request{};
  request.tp_block_size = kBlockSize;
  request.tp_block_nr = kSlots * kSlotSize / kBlockSize;
  request.tp_frame_size = kSlotSize;
  request.tp_frame_nr = kSlots;
  sock_fprog program{};
  program.len = kFilter.size();
  program.filter = const_cast<sock_filter*>(kFilter.data());
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0 ||
      ::setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0 ||
      ::setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) != 0 ||
      ::setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) != 0) {
    return host::os_error(what, errno);
  }
  auto ring = Mapping::of_ring(fd, 0, kSlots * kSlotSize);
  if (!ring) return tl::unexpected(std::move(ring).error());
  copies.ring_ = std::move(*ring);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(interface_index);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return host::os_error(what, errno);
  return copies;
}

std::byte* KernelCopies::slot(std::uint32_t index) const {
  return ring_.data() + std::size_t{index % kSlots} * kSlotSize;
}

std::uint32_t& KernelCopies::status_of(std::byte* slot) {
  return reinterpret_cast<tpacket2_hdr*>(slot)->tp_status;
}

void KernelCopies::take_back() {
  for (; lent_ > 0; --lent_) {
    std::atomic_ref(status_of(slot(next_ - lent_)))
        .store(TP_STATUS_KERNEL, std::memory_order_release);
  }
}

std::size_t KernelCopies::receive(std::span<net::RxFrame> out) {
  std::size_t count = 0;
  while (count < out.size() && lent_ < kSlots) {
    std::byte* const begin = slot(next_);
    const std::uint32_t status = std::atomic_ref(status_of(begin)).load(std::memory_order_acquire);
    if ((status & TP_STATUS_USER) == 0) break;
    const auto* const header = reinterpret_cast<const tpacket2_hdr*>(begin);
    out[count++] = {{begin + header->tp_mac, header->tp_snaplen}, net::RxChecksum::unknown, 0};
    ++frames_;
    ++next_;
    ++lent_;
  }
  return count;
}

void KernelCopies::quiet() {
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
}

}  // namespace penstock::nic_xdp
