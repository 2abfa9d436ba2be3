// Runs packet scripts: one net::Stack, whose peer and application are the script, in virtual time.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/stack.hh"
#include "packet/script.hh"
#include "support/packet.hh"
#include "support/pcapng.hh"
#include "support/sim_link.hh"

namespace penstock::test {

struct RunOptions {
  bool v6 = false;
  bool tso = false;    // the device cuts; the script sees the segments
  std::string states;  // folder of the prologues
  std::string state;   // which one goes before; empty: none
  support::PcapngWriter* pcap = nullptr;
};

class Runner {
 public:
  explicit Runner(const RunOptions& options);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Empty: it passed. Else "file:line: expected …, got …".
  std::string run(const Script& script);

 private:
  struct Sent {
    Instant at;
    support::Bytes frame;
  };
  // A connection as the script sees it. Numbers in scripts count from the bases.
  struct Flow {
    std::uint16_t remote_port = 0;
    std::uint16_t local_port = 0;
    SeqNumber remote_iss;
    SeqNumber remote_base;
    SeqNumber remote_next;
    SeqNumber local_iss;
    SeqNumber local_base;
    SeqNumber local_next;
    bool local_known = false;
    bool ts_known = false;
    std::uint32_t ts_base = 0;  // of our timestamps: the first that was sent
    bool has_stream = false;
    StreamHandle stream;
    std::uint64_t written = 0;
    std::uint64_t delivered = 0;
    std::uint64_t unread = 0;
    std::deque<std::string> events;
    struct Need {
      std::uint64_t pin = 0;
      ContentRef content;
    };
    std::deque<Need> needs;
  };

  std::string set_up(const Script& script);
  std::string run_commands(const Script& script);
  std::string run_command(const Command& command);
  std::string load_state(const std::string& name, Script& out) const;
  void rebase();

  // Time.
  void cycle();
  void run_until(Instant until, bool stop_when_sent);
  void take_sent();
  void take_events();
  void on_event(const StreamEvent& event);

  // Packets.
  std::string inject(const Command& command);
  support::Bytes build(const PacketPattern& pattern, Flow& flow);
  support::Bytes build_icmp(const PacketPattern& pattern, Flow& flow);
  void put(const support::Bytes& frame);
  std::string expect_packet(const Command& command);
  std::string compare(const PacketPattern& pattern, const support::Packet& packet, Flow& flow);
  std::string compare_options(const OptionList& options, const wire::TcpOptions& got, Flow& flow);
  std::string compare_icmp(const PacketPattern& pattern, const support::Packet& packet);
  void learn(const support::Packet& packet, Flow& flow);
  [[nodiscard]] std::string tell(const Sent& sent);
  [[nodiscard]] std::string unexpected();

  // Calls.
  std::string call(const Command& command);
  std::string call_write(const Command& command, Flow& flow);
  std::string call_expect(const Command& command, Flow& flow);
  std::string call_content(const Command& command, Flow& flow);

  Flow& flow(int index);
  Flow* flow_of(const support::Packet& packet);
  [[nodiscard]] support::Addressing addressing() const;

  const RunOptions options_;
  net::StackOptions stack_options_;
  support::NicOptions nic_;
  std::unique_ptr<support::SimLink> link_;
  std::unique_ptr<net::Stack> stack_;
  std::unique_ptr<support::LinkTap> capture_;
  IpAddress local_;
  IpAddress remote_;
  Instant now_{};
  Instant last_{};  // of the command before
  std::map<int, Flow> flows_;
  std::deque<Sent> sent_;
  // What the stack keeps: as it was written, and what answers to `need` brought since.
  std::map<std::uint64_t, std::vector<support::Bytes>> pins_;
  std::uint64_t next_pin_ = 1;
  std::string wrong_;
};

}  // namespace penstock::test
