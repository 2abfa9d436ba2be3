#include "discovery/http_fetch.hh"

#include <algorithm>
#include <cstring>

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/assert.hh"
#include "wire/tracker_http.hh"

namespace penstock::discovery {
namespace {

constexpr long kRedirectsMax = 5;
constexpr long kKeptConnectionsMax = 256;
constexpr std::size_t kSpareMax = 64;

// 127.0.0.0/8, ::1 and what means "this host" to the kernel: the unspecified addresses.
bool is_loopback(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    const std::uint32_t ip = ntohl(in.sin_addr.s_addr);
    return ip >> 24 == 127 || ip == 0;
  }
  if (address.sa_family == AF_INET6) {
    const in6_addr& ip = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&ip)) return ip.s6_addr[12] == 127 || ip.s6_addr[12] == 0;
    return IN6_IS_ADDR_LOOPBACK(&ip) || IN6_IS_ADDR_UNSPECIFIED(&ip);
  }
  return false;
}

}  // namespace

struct HttpFetch::Transfer {
  std::uint64_t token = 0;
  CURL* easy = nullptr;
  std::vector<std::byte> body;
  bool loopback_ok = false;
  bool loopback_refused = false;
  char error[CURL_ERROR_SIZE] = {};
};

HttpFetch::HttpFetch(std::string user_agent) : user_agent_(std::move(user_agent)) {}

Result<std::unique_ptr<HttpFetch>> HttpFetch::make(std::string user_agent) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return fail("libcurl doesn't start");
  std::unique_ptr<HttpFetch> fetch(new HttpFetch(std::move(user_agent)));
  fetch->multi_ = curl_multi_init();
  if (fetch->multi_ == nullptr) return fail("libcurl doesn't start");
  curl_multi_setopt(fetch->multi_, CURLMOPT_MAXCONNECTS, kKeptConnectionsMax);
  return fetch;
}

HttpFetch::~HttpFetch() {
  for (auto& [token, transfer] : transfers_) {
    curl_multi_remove_handle(multi_, transfer->easy);
    curl_easy_cleanup(transfer->easy);
  }
  for (CURL* easy : spare_)
    curl_easy_cleanup(easy);
  curl_multi_cleanup(multi_);
}

std::size_t HttpFetch::on_body(char* data, std::size_t size, std::size_t count, void* self) {
  auto* transfer = static_cast<Transfer*>(self);
  const std::size_t length = size * count;
  if (transfer->body.size() + length > wire::kTrackerBodyMax) return 0;  // an error
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  transfer->body.insert(transfer->body.end(), bytes, bytes + length);
  return length;
}

curl_socket_t HttpFetch::on_open(void* self, curlsocktype, curl_sockaddr* address) {
  auto* transfer = static_cast<Transfer*>(self);
  if (!transfer->loopback_ok && is_loopback(address->addr)) {
    transfer->loopback_refused = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

void HttpFetch::start(std::uint64_t token, const std::string& url, const FetchHow& how) {
  auto transfer = std::make_unique<Transfer>();
  transfer->token = token;
  transfer->loopback_ok = how.loopback_ok;
  if (spare_.empty()) {
    transfer->easy = curl_easy_init();
    ASSERT(transfer->easy != nullptr);
  } else {
    transfer->easy = spare_.back();
    spare_.pop_back();
  }
  CURL* easy = transfer->easy;
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent_.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(easy, CURLOPT_MAXREDIRS, kRedirectsMax);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(how.timeout.ns / 1'000'000));
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  const long resolve = how.family == IpFamily::v4 ? CURL_IPRESOLVE_V4 : CURL_IPRESOLVE_V6;
  curl_easy_setopt(easy, CURLOPT_IPRESOLVE, resolve);
  if (how.source) {
    curl_easy_setopt(easy, CURLOPT_INTERFACE, ("host!" + how.source->to_string()).c_str());
  }
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &HttpFetch::on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer.get());
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &HttpFetch::on_open);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer.get());
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer.get());
  curl_multi_add_handle(multi_, easy);
  transfers_[token] = std::move(transfer);
}

// Kept for the next one: its connection cache is the multi handle's.
void HttpFetch::release(std::unique_ptr<Transfer> transfer) {
  curl_multi_remove_handle(multi_, transfer->easy);
  if (spare_.size() < kSpareMax) {
    curl_easy_reset(transfer->easy);
    spare_.push_back(transfer->easy);
  } else {
    curl_easy_cleanup(transfer->easy);
  }
}

void HttpFetch::cancel(std::uint64_t token) {
  const auto found = transfers_.find(token);
  if (found == transfers_.end()) return;
  std::unique_ptr<Transfer> transfer = std::move(found->second);
  transfers_.erase(found);
  release(std::move(transfer));
}

bool HttpFetch::poll(FetchAnswer& out) {
  int running = 0;
  curl_multi_perform(multi_, &running);
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    Transfer* done = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &done);
    const CURLcode code = message->data.result;
    out = FetchAnswer{};
    out.token = done->token;
    curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &out.status);
    // A body that is too long or cut short came from a server that is there.
    out.reached = code == CURLE_OK || code == CURLE_WRITE_ERROR || code == CURLE_PARTIAL_FILE ||
                  code == CURLE_TOO_MANY_REDIRECTS || code == CURLE_BAD_CONTENT_ENCODING;
    if (code == CURLE_OK) {
      out.body = std::move(done->body);
    } else {
      out.error = done->error[0] != 0 ? done->error : curl_easy_strerror(code);
      if (done->loopback_refused) out.error = "on this host, a tracker's path begins /announce";
    }
    cancel(out.token);
    return true;
  }
  return false;
}

void HttpFetch::wait(std::vector<curl_waitfd>& others, Duration timeout) {
  const std::int64_t ms = std::clamp<std::int64_t>(timeout.ns / 1'000'000 + 1, 0, 60'000);
  curl_multi_poll(multi_, others.data(), static_cast<unsigned>(others.size()), static_cast<int>(ms),
                  nullptr);
}

void HttpFetch::wake() {
  curl_multi_wakeup(multi_);
}

void HttpFetch::set_per_host_max(std::uint32_t connections) {
  curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS, static_cast<long>(connections));
}

}  // namespace penstock::discovery
