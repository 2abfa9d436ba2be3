// What a host owes the link beside TCP: ARP (RFC 826), NDP (RFC 4861), ICMP (RFC 1122 §3.2.2) and
// ICMPv6 (RFC 4443), all within a budget; and what ICMP tells TCP (RFC 5927, RFC 5461).
#include <algorithm>

#include "net/stack_impl.hh"
#include "wire/ipv4.hh"
#include "wire/ipv6.hh"
#include "wire/ndp.hh"

namespace penstock::net {

bool Stack::Impl::may_answer() {
  if (icmp_budget.try_spend(now)) return true;
  drop(DropReason::icmp_limit);
  return false;
}

// Tells the link where we are: caches and bridges that knew another station are put right.
void Stack::Impl::announce() {
  for (const Interface& interface : host.interfaces()) {
    TxFrame* frame = next_frame();
    if (frame == nullptr) return drop(DropReason::no_room);
    const bool v4 = interface.address.is_v4();
    const IpAddress to = v4 ? interface.address : wire::all_nodes();
    const wire::MacAddress mac =
        v4 ? wire::MacAddress::broadcast() : wire::multicast_mac(wire::all_nodes());
    write_advertisement(host, interface.address, to, mac, false, *frame);
    tx.push();
    ++counters.answers_out;
  }
}

void Stack::Impl::ask_neighbours() {
  Neighbours::Question question;
  for (int i = 0; i < kControlBurst; ++i) {
    TxFrame* frame = next_frame();
    if (frame == nullptr || !neighbours.poll_question(now, question)) return;
    write_question(host, host.interfaces()[question.interface].address, question.address,
                   question.unicast ? &question.mac : nullptr, *frame);
    tx.push();
    ++counters.questions_out;
  }
}

// Who waited for a neighbour has its turn: to send, or to learn that nobody is there.
void Stack::Impl::wake_neighbours() {
  for (NeighbourId id = neighbours.poll_settled(); id != kNoNeighbour;
       id = neighbours.poll_settled()) {
    while (Slot* slot = waiting[id].pop_front()) {
      slot->waiting = false;
      activate(*slot);
    }
  }
}

void Stack::Impl::on_arp(const ParsedFrame& frame) {
  const wire::ArpPacket& arp = frame.arp;
  if (host.find_local(arp.sender) != kNoInterface) {
    ++counters.address_conflicts;
    return;
  }
  if (arp.request) {
    neighbours.on_heard(arp.sender, arp.sender_mac);
  } else if (!frame.group) {
    neighbours.on_advertisement(now, arp.sender, arp.sender_mac, {});
  } else {
    neighbours.on_advertisement(now, arp.sender, arp.sender_mac, {false, true});
  }
  if (frame.local == kNoInterface || !arp.request) {
    if (frame.local == kNoInterface) drop(DropReason::arp_not_ours);
    return;
  }
  TxFrame* out = next_frame();
  if (out == nullptr) return drop(DropReason::no_room);
  write_advertisement(host, arp.target, arp.sender, arp.sender_mac, true, *out);
  tx.push();
  ++counters.answers_out;
}

void Stack::Impl::on_icmp(const ParsedFrame& frame) {
  const std::uint8_t type = frame.icmp.type;
  if (frame.v4) {
    if (type == wire::IcmpType::echo_request) return answer_echo(frame);
    if (type == wire::IcmpType::unreachable) return on_icmp_error(frame);
    return drop(DropReason::icmp_ignored);
  }
  switch (type) {
    case wire::Icmp6Type::echo_request:
      return answer_echo(frame);
    case wire::Icmp6Type::unreachable:
    case wire::Icmp6Type::packet_too_big:
      return on_icmp_error(frame);
    case wire::Icmp6Type::neighbour_solicitation:
    case wire::Icmp6Type::neighbour_advertisement:
      return on_neighbour(frame);
    default:
      // Router advertisements among them: addresses and gateways are configured.
      return drop(DropReason::icmp_ignored);
  }
}

void Stack::Impl::answer_echo(const ParsedFrame& frame) {
  // RFC 1122 §3.2.2.6 lets us ignore what was sent to a group.
  if (frame.local == kNoInterface || frame.group || frame.ip.source.is_unspecified())
    return drop(DropReason::icmp_ignored);
  if (!may_answer()) return;
  TxFrame* out = next_frame();
  if (out == nullptr) return drop(DropReason::no_room);
  PayloadPart body;
  if (!frame.icmp.body.empty() && !echoes.copy(frame.icmp.body, body))
    return drop(DropReason::no_buffer);
  // Back to the station that it came from: no look-up, nothing kept for strangers.
  write_icmp_frame(host, {frame.source_mac, frame.ip.destination, frame.ip.source},
                   frame.v4 ? wire::IcmpType::echo_reply : wire::Icmp6Type::echo_reply, 0,
                   frame.icmp.rest, {}, body, *out);
  tx.push();
  send_queued();  // the next answer may take the same buffer
  ++counters.echo_replies;
}

void Stack::Impl::on_neighbour(const ParsedFrame& frame) {
  wire::NeighbourMessage message;
  // RFC 4861 §7.1.1, §7.1.2: a hop limit of 255 proves that no router forwarded it.
  if (frame.ip.hop_limit != 255 || !wire::parse_neighbour(frame.icmp, message))
    return drop(DropReason::ndp_malformed);
  const bool nobody = frame.ip.source.is_unspecified();
  if (!message.solicitation) {
    if (nobody || (frame.local == kNoInterface && message.solicited))
      return drop(DropReason::ndp_malformed);
    if (host.find_local(message.target) != kNoInterface) {
      ++counters.address_conflicts;
      return;
    }
    // Without the option the address is the one that the frame came from: we asked by unicast.
    const wire::MacAddress& mac =
        message.has_link_address ? message.link_address : frame.source_mac;
    neighbours.on_advertisement(now, message.target, mac, {message.solicited, message.overrides});
    return;
  }
  if (nobody && (message.has_link_address || frame.local != kNoInterface))
    return drop(DropReason::ndp_malformed);
  if (!nobody && message.has_link_address)
    neighbours.on_heard(frame.ip.source, message.link_address);
  if (host.find_local(message.target) == kNoInterface) return drop(DropReason::ndp_not_ours);
  TxFrame* out = next_frame();
  if (out == nullptr) return drop(DropReason::no_room);
  // To somebody who is about to take our address all are told (RFC 4862 §5.4.3).
  const IpAddress to = nobody ? wire::all_nodes() : frame.ip.source;
  const wire::MacAddress mac = nobody                     ? wire::multicast_mac(to)
                               : message.has_link_address ? message.link_address
                                                          : frame.source_mac;
  if (!nobody && mac.is_group()) return drop(DropReason::ndp_malformed);
  write_advertisement(host, message.target, to, mac, !nobody, *out);
  tx.push();
  ++counters.answers_out;
}

namespace {

// RFC 9293 §3.9.2.2: what isn't a hard error ends nothing.
bool is_hard_error(const ParsedFrame& frame) {
  const std::uint8_t code = frame.icmp.code;
  if (frame.v4) return code == wire::IcmpCode::protocol || code == wire::IcmpCode::port;
  return code == wire::Icmp6Code::prohibited || code == wire::Icmp6Code::port;
}

}  // namespace

void Stack::Impl::on_icmp_error(const ParsedFrame& frame) {
  wire::QuotedPacket quoted;
  const bool readable = frame.v4 ? wire::parse_quoted_ipv4(frame.icmp.body, quoted)
                                 : wire::parse_quoted_ipv6(frame.icmp.body, quoted);
  if (frame.local == kNoInterface || !readable || quoted.protocol != wire::IpProtocol::tcp ||
      quoted.source != frame.ip.destination) {
    return drop(DropReason::icmp_quote);
  }
  const bool too_big = frame.v4 ? frame.icmp.code == wire::IcmpCode::fragmentation_needed
                                : frame.icmp.type == wire::Icmp6Type::packet_too_big;
  if (too_big) return on_too_big(frame, quoted);
  if (!is_hard_error(frame)) return drop(DropReason::icmp_ignored);
  const tcp::Flow flow{quoted.source, quoted.destination, quoted.source_port,
                       quoted.destination_port};
  const std::uint32_t index = find_flow(flow, static_cast<std::uint32_t>(shared.hash(flow)));
  if (index == FlowTable::kNone) {
    listener.on_unreachable(flow, quoted.seq);
    return;
  }
  Slot& slot = slots[index];
  slot.tcp().on_unreachable(now, quoted.seq);
  want_events(slot);
  after_input(slot);
}

void Stack::Impl::on_too_big(const ParsedFrame& frame, const wire::QuotedPacket& quoted) {
  // Least MTU of a link (RFC 8200 §5). For IPv4 RFC 791 allows 68, but no link has less than 552;
  // a router before RFC 1191 names none at all.
  const std::uint32_t least = frame.v4 ? 552 : 1280;
  const std::uint32_t told = frame.v4 ? frame.icmp.rest & 0xffff : frame.icmp.rest;
  // RFC 8201 §4: less than the least changes nothing.
  if (!frame.v4 && told < least) return drop(DropReason::icmp_mtu);
  if (told >= host.mtu()) return drop(DropReason::icmp_mtu);
  const std::uint32_t mtu = std::max(told, least);
  const tcp::Flow flow{quoted.source, quoted.destination, quoted.source_port,
                       quoted.destination_port};
  const std::uint32_t index = find_flow(flow, static_cast<std::uint32_t>(shared.hash(flow)));
  if (index == FlowTable::kNone) return drop(DropReason::icmp_quote);
  Slot& slot = slots[index];
  const auto mss = static_cast<std::uint16_t>(mtu - (frame.v4 ? 40 : 60));
  slot.tcp().on_packet_too_big(now, quoted.seq, mss);
  want_events(slot);
  after_input(slot);
}

// Port unreachable for UDP (RFC 1122 §4.1.3.1), protocol unreachable for the rest (§3.2.2.1;
// RFC 4443 §3.4: parameter problem, unrecognised next header).
void Stack::Impl::on_foreign_protocol(const ParsedFrame& frame) {
  drop(DropReason::protocol);
  if (frame.group || frame.ip.source.is_unspecified() || !may_answer()) return;
  const bool udp = frame.ip.protocol == wire::IpProtocol::udp;
  if (frame.ip.protocol == wire::IpProtocol::icmp || frame.ip.protocol == wire::IpProtocol::icmpv6)
    return;  // of the other family
  TxFrame* out = next_frame();
  if (out == nullptr) return drop(DropReason::no_room);
  // The header and 8 bytes and more, but not all that RFC 1812 §4.3.2.3 would like: no buffer.
  const std::size_t quote = std::min<std::size_t>(frame.ip_bytes.size(), 128);
  std::uint8_t type = wire::IcmpType::unreachable;
  std::uint8_t code = udp ? wire::IcmpCode::port : wire::IcmpCode::protocol;
  std::uint32_t rest = 0;
  if (!frame.v4) {
    type = udp ? wire::Icmp6Type::unreachable : wire::Icmp6Type::parameter_problem;
    code = udp ? wire::Icmp6Code::port : std::uint8_t{1};
    // Where the next header's number stands: right where there are no extension headers.
    if (!udp) rest = 6;
  }
  write_icmp_frame(host, {frame.source_mac, frame.ip.destination, frame.ip.source}, type, code,
                   rest, frame.ip_bytes.first(quote), {}, *out);
  tx.push();
  ++counters.errors_out;
}

}  // namespace penstock::net
