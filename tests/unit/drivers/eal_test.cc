// Devices' names and EAL's arguments. EAL itself runs in tests/conformance.
#include "nic_dpdk/eal.hh"

#include <algorithm>

#include <gtest/gtest.h>

namespace penstock::nic_dpdk {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words)
    text += (text.empty() ? "" : " ") + word;
  return text;
}

TEST(Eal, NamesOfDevices) {
  const auto tap = parse_device("net_tap0,iface=seed0,mac=fixed");
  ASSERT_TRUE(tap);
  EXPECT_EQ(tap->name, "net_tap0");
  EXPECT_EQ(tap->arguments, "iface=seed0,mac=fixed");
  EXPECT_FALSE(tap->pci);
  EXPECT_EQ(tap->devargs(), "net_tap0,iface=seed0,mac=fixed");
  const auto pci = parse_device("3b:00.1");
  ASSERT_TRUE(pci);
  EXPECT_EQ(pci->name, "0000:3b:00.1");
  EXPECT_TRUE(pci->pci);
  EXPECT_EQ(pci->devargs(), "0000:3b:00.1");
  EXPECT_EQ(parse_device("0001:3b:00.1,queues=2")->devargs(), "0001:3b:00.1,queues=2");
  for (const char* wrong : {"", "eth0", "net_tap", "3b:00", "0000:3b:0g.1", ",iface=x"})
    EXPECT_FALSE(parse_device(wrong)) << wrong;
}

TEST(Eal, VirtualDevicesNeedNoBusAndNoHugepages) {
  EalOptions options;
  options.devices = {*parse_device("net_tap0,iface=seed0")};
  options.memory = 64u << 20;
  EXPECT_EQ(joined(eal_arguments(options, false, {0, 3})),
            "penstock --lcores 0@(0,3) --no-telemetry --log-level warning --single-file-segments "
            "--no-huge --no-shconf -m 64 --no-pci --iova-mode va");
}

TEST(Eal, ContentComesOnTopOfFrames) {
  EalOptions options;
  options.memory = 64u << 20;
  options.content = (100u << 20) + 1;
  EXPECT_EQ(total_memory(options), (168u << 20) + 1u);
  const std::string words = joined(eal_arguments(options, false, {0}));
  EXPECT_NE(words.find(" -m 169 "), std::string::npos) << words;
}

// A virtual device is made later, by itself.
TEST(Eal, OnlyNamedPciDevicesAreProbed) {
  EalOptions options;
  options.devices = {*parse_device("01:00.0,a=b"), *parse_device("net_tap0")};
  const std::vector<std::string> words = eal_arguments(options, true, {5});
  EXPECT_EQ(joined(words),
            "penstock --lcores 0@(5) --no-telemetry --log-level warning --single-file-segments "
            "--in-memory -a 0000:01:00.0,a=b");
}

}  // namespace
}  // namespace penstock::nic_dpdk
