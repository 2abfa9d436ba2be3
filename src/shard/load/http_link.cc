#include "shard/load/http_link.hh"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

namespace penstock {
namespace {

// An answer's header longer than this is none.
constexpr std::size_t kHeaderMax = 16 * 1024;

// Of "Content-Length" (RFC 9110 §8.6), case-insensitive; false when there is none.
bool content_length(std::string_view header, std::uint64_t& out) {
  constexpr std::string_view kName = "\r\ncontent-length:";
  const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; };
  const auto found = std::search(header.begin(), header.end(), kName.begin(), kName.end(), same);
  if (found == header.end()) return false;
  const char* p = header.data() + (found - header.begin()) + kName.size();
  const char* const end = header.data() + header.size();
  while (p < end && *p == ' ')
    ++p;
  return std::from_chars(p, end, out).ec == std::errc();
}

}  // namespace

HttpLink::HttpLink(std::string path, std::string host, std::uint32_t range_size)
    : path_(std::move(path)), host_(std::move(host)), range_size_(range_size) {}

void HttpLink::open(Instant, const Endpoint&) {
  reset();
  opened_ = true;
}

void HttpLink::reset() {
  input_ = {};
  header_.clear();
  output_.clear();
  outstanding_.clear();
  body_left_ = 0;
  closed_ = nullptr;
  opened_ = ready_ = false;
}

void HttpLink::on_data(Instant, std::span<const std::byte> data) {
  input_ = data;
}

void HttpLink::on_stream_closed(StreamError error) {
  closed_ = error == StreamError::closed_by_peer ? "closed_by_peer" : "connection_reset";
}

bool HttpLink::try_request(Instant, const Request& request) {
  if (!ready_ || closed_ != nullptr) return false;
  const std::uint64_t first = std::uint64_t{request.piece.value} * range_size_ + request.begin;
  output_ += "GET " + path_ + " HTTP/1.1\r\nHost: " + host_ +
             "\r\nRange: bytes=" + std::to_string(first) + "-" +
             std::to_string(first + request.length - 1) + "\r\n\r\n";
  outstanding_.push_back(request);
  return true;
}

SmallFill HttpLink::fill_output(Instant, std::span<std::byte> scratch, std::span<SendPart> parts) {
  const std::size_t n = std::min(scratch.size(), output_.size());
  if (n == 0 || parts.empty()) return {};
  std::memcpy(scratch.data(), output_.data(), n);
  parts[0] = {scratch.data(), static_cast<std::uint32_t>(n), SendPart::Kind::small};
  return {1, n, n == output_.size()};
}

void HttpLink::on_output_sent(Instant, std::size_t bytes) {
  output_.erase(0, bytes);
}

bool HttpLink::read_header() {
  // The end may lie across what was there and what came: look at the whole. Once an answer.
  const std::size_t before = header_.size();
  const std::size_t take = std::min(input_.size(), kHeaderMax + 4 - std::min(before, kHeaderMax));
  header_.append(reinterpret_cast<const char*>(input_.data()), take);
  const std::size_t end = header_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
  if (end == std::string::npos) {
    input_ = input_.subspan(take);
    return false;
  }
  input_ = input_.subspan(end + 4 - before);
  header_.resize(end + 2);
  return true;
}

bool HttpLink::fail(const char* reason, LinkEvent& event) {
  closed_ = nullptr;
  opened_ = ready_ = false;
  input_ = {};
  event.kind = LinkEvent::Kind::closed;
  event.reason = reason;
  return true;
}

bool HttpLink::poll_event(LinkEvent& event) {
  if (!opened_) return false;
  if (!ready_) {
    ready_ = true;
    event.kind = LinkEvent::Kind::ready;
    return true;
  }
  while (!input_.empty()) {
    if (outstanding_.empty()) return fail("unexpected_answer", event);
    if (body_left_ > 0) {
      const Request& request = outstanding_.front();
      const std::size_t n = std::min<std::uint64_t>(body_left_, input_.size());
      event.kind = LinkEvent::Kind::bytes;
      event.request = request;
      event.offset = request.length - static_cast<std::uint32_t>(body_left_);
      event.data = input_.first(n);
      input_ = input_.subspan(n);
      body_left_ -= n;
      event.last = body_left_ == 0;
      if (event.last) outstanding_.pop_front();
      return true;
    }
    if (!read_header()) {
      if (header_.size() > kHeaderMax) return fail("answer_too_long", event);
      continue;
    }
    const bool partial = header_.starts_with("HTTP/1.1 206");
    if (!partial || !content_length(header_, body_left_) ||
        body_left_ != outstanding_.front().length) {
      return fail("answer_refused", event);
    }
    header_.clear();
  }
  if (closed_ != nullptr) return fail(closed_, event);
  return false;
}

}  // namespace penstock
