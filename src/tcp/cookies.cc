#include "tcp/cookies.hh"

#include "base/sip_hash.hh"

namespace penstock::tcp {

namespace {

constexpr std::int64_t kEpochNs = 64'000'000'000;

// What paths and peers have in practice; the last that isn't above the peer's is taken. IPv6 with
// tunnels, Ethernet, and jumbo frames.
constexpr std::array<std::uint16_t, 8> kMss{216, 536, 1220, 1360, 1440, 1460, 4312, 8940};

// The tail of a SYN's timestamp.
constexpr std::uint32_t kStampBits = 6;
constexpr std::uint32_t kStampMask = (1 << kStampBits) - 1;
constexpr std::uint32_t kStampNoShift = 15;
constexpr std::uint32_t kStampSack = 1 << 4;
constexpr std::uint32_t kStampEcn = 1 << 5;

constexpr std::uint32_t kLowBits = 5;
constexpr std::uint32_t kLowMask = (1 << kLowBits) - 1;

}  // namespace

void Cookies::advance(Instant now) {
  const auto epoch = static_cast<std::uint64_t>(now.ns / kEpochNs);
  if (epoch == epoch_) return;
  epoch_ = epoch;
  // Both, as more than an epoch may have gone by.
  for (std::uint64_t age = 0; age < 2; ++age) {
    const std::uint64_t of = epoch - age;
    SipKey& key = secrets_[of & 1];
    key[0] = SipHash24(root_).add(of).add(0x636f6f6b696530ULL).finish();
    key[1] = SipHash24(root_).add(of).add(0x636f6f6b696531ULL).finish();
  }
}

std::uint32_t Cookies::mac(const Flow& flow, SeqNumber irs, std::uint64_t epoch,
                           std::uint32_t mss_index) const {
  SipHash24 hash(secrets_[epoch & 1]);
  add_flow(hash, flow);
  hash.add(std::uint64_t{irs.value} << 32 | mss_index);
  hash.add(epoch);
  return static_cast<std::uint32_t>(hash.finish() >> (32 + kLowBits));
}

std::uint32_t Cookies::mask(const Flow& flow) const {
  SipHash24 hash(root_);
  add_flow(hash, flow);
  return static_cast<std::uint32_t>(hash.finish()) & kLowMask;
}

SeqNumber Cookies::make(Instant now, const Flow& flow, SeqNumber irs, std::uint16_t mss) {
  advance(now);
  std::uint32_t index = 0;
  while (index + 1 < kMss.size() && kMss[index + 1] <= mss)
    ++index;
  const std::uint32_t low = (index << 2 | static_cast<std::uint32_t>(epoch_ & 3)) ^ mask(flow);
  return SeqNumber(mac(flow, irs, epoch_, index) << kLowBits | low);
}

std::uint16_t Cookies::check(Instant now, const Flow& flow, SeqNumber irs, SeqNumber cookie) {
  advance(now);
  const std::uint32_t low = (cookie.value & kLowMask) ^ mask(flow);
  const std::uint32_t index = low >> 2;
  const std::uint64_t age = (epoch_ - low) & 3;
  if (age > 1) return 0;
  if (mac(flow, irs, epoch_ - age, index) != cookie.value >> kLowBits) return 0;
  return kMss[index];
}

std::uint32_t Cookies::stamp(std::uint32_t now_ms, const wire::TcpOptions& peer, bool ecn) {
  std::uint32_t low = peer.window_shift == wire::kNoWindowShift ? kStampNoShift : peer.window_shift;
  if (peer.sack_permitted) low |= kStampSack;
  if (ecn) low |= kStampEcn;
  std::uint32_t out = (now_ms & ~kStampMask) | low;
  // Later stamps of this connection must not be older (RFC 7323 §5.3).
  if (SeqNumber(out) != SeqNumber(now_ms) && after(SeqNumber(out), SeqNumber(now_ms)))
    out -= 1 << kStampBits;
  return out;
}

bool Cookies::read_stamp(std::uint32_t stamp, wire::TcpOptions& peer) {
  const std::uint32_t shift = stamp & 15;
  peer.window_shift =
      shift == kStampNoShift ? wire::kNoWindowShift : static_cast<std::uint8_t>(shift);
  peer.sack_permitted = (stamp & kStampSack) != 0;
  return (stamp & kStampEcn) != 0;
}

}  // namespace penstock::tcp
