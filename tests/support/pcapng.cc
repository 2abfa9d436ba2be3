#include "support/pcapng.hh"

#include <cstring>
#include <vector>

namespace penstock::support {
namespace {

// Fields are in the writer's byte order; the section header says which.
class Body {
 public:
  template <typename T>
  Body& put(T value) {
    const auto* p = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), p, p + sizeof value);
    return *this;
  }
  Body& put_padded(std::span<const std::byte> data) {
    bytes_.insert(bytes_.end(), data.begin(), data.end());
    bytes_.resize((bytes_.size() + 3) / 4 * 4);
    return *this;
  }
  Body& put_option(std::uint16_t code, std::span<const std::byte> data) {
    return put(code).put(static_cast<std::uint16_t>(data.size())).put_padded(data);
  }
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr std::uint32_t kInterfaceDescription = 1;
constexpr std::uint32_t kEnhancedPacket = 6;
constexpr std::uint16_t kLinkEthernet = 1;
constexpr std::uint16_t kOptionEnd = 0, kOptionComment = 1, kOptionName = 2, kOptionFlags = 2,
                        kOptionResolution = 9;

}  // namespace

PcapngWriter::PcapngWriter(const char* path) : file_(std::fopen(path, "wb")) {
  if (file_ == nullptr) return;
  Body body;
  body.put(std::uint32_t{0x1a2b3c4d}).put(std::uint16_t{1}).put(std::uint16_t{0});
  body.put(std::int64_t{-1});  // the section's length isn't known
  block(kSectionHeader, body.bytes());
}

PcapngWriter::~PcapngWriter() {
  if (file_ != nullptr) std::fclose(file_);
}

void PcapngWriter::block(std::uint32_t type, std::span<const std::byte> body) {
  const auto length = static_cast<std::uint32_t>(body.size() + 12);
  std::fwrite(&type, 4, 1, file_);
  std::fwrite(&length, 4, 1, file_);
  std::fwrite(body.data(), 1, body.size(), file_);
  std::fwrite(&length, 4, 1, file_);
}

void PcapngWriter::add_interface(std::string_view name) {
  Body body;
  body.put(kLinkEthernet).put(std::uint16_t{0}).put(std::uint32_t{0});
  body.put_option(kOptionName, std::as_bytes(std::span(name)));
  const std::byte nanoseconds{9};
  body.put_option(kOptionResolution, std::span(&nanoseconds, 1));
  body.put(std::uint32_t{kOptionEnd});
  block(kInterfaceDescription, body.bytes());
}

void PcapngWriter::write(Instant at, std::uint32_t interface, bool outbound,
                         std::span<const std::byte> frame, std::string_view comment) {
  const auto length = static_cast<std::uint32_t>(frame.size());
  const auto time = static_cast<std::uint64_t>(at.ns);
  Body body;
  body.put(interface).put(static_cast<std::uint32_t>(time >> 32));
  body.put(static_cast<std::uint32_t>(time)).put(length).put(length).put_padded(frame);
  const std::uint32_t flags = outbound ? 2 : 1;
  body.put_option(kOptionFlags, std::as_bytes(std::span(&flags, 1)));
  if (!comment.empty()) body.put_option(kOptionComment, std::as_bytes(std::span(comment)));
  body.put(std::uint32_t{kOptionEnd});
  block(kEnhancedPacket, body.bytes());
}

bool PcapngWriter::flush() {
  return std::fflush(file_) == 0;
}

}  // namespace penstock::support
