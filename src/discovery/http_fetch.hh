// HTTP GETs of trackers, many at once, without blocking: libcurl's multi interface.
//
// Owned and used by one thread. Nothing goes through a proxy (a tracker tells peers the address it
// sees), redirects stay with HTTP, bodies are bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <curl/curl.h>

#include "base/address.hh"
#include "base/result.hh"
#include "base/time.hh"

namespace penstock::discovery {

enum class IpFamily : std::uint8_t { v4, v6 };

struct FetchHow {
  IpFamily family = IpFamily::v4;
  std::optional<IpAddress> source;  // the address to connect from; nullopt: any
  Duration timeout = Duration::seconds(30);
  // Else connections to this host itself are refused, whatever a name resolves to or a redirect
  // says.
  bool loopback_ok = false;
};

struct FetchAnswer {
  std::uint64_t token = 0;
  bool reached = false;  // the server answered with something
  long status = 0;       // of HTTP
  std::vector<std::byte> body;
  std::string error;  // why it wasn't reached
};

class HttpFetch {
 public:
  static Result<std::unique_ptr<HttpFetch>> make(std::string user_agent);
  ~HttpFetch();
  HttpFetch(const HttpFetch&) = delete;
  HttpFetch& operator=(const HttpFetch&) = delete;

  // Answered exactly once by poll(), unless cancelled.
  void start(std::uint64_t token, const std::string& url, const FetchHow& how);
  void cancel(std::uint64_t token);
  bool poll(FetchAnswer& out);

  // Waits for something to do, or until woken: the descriptors are watched too.
  void wait(std::vector<curl_waitfd>& others, Duration timeout);
  // Any thread.
  void wake();
  // How many connections to one host are kept at once.
  void set_per_host_max(std::uint32_t connections);

 private:
  struct Transfer;
  explicit HttpFetch(std::string user_agent);
  void release(std::unique_ptr<Transfer> transfer);
  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self);
  static curl_socket_t on_open(void* self, curlsocktype purpose, curl_sockaddr* address);

  std::string user_agent_;
  CURLM* multi_ = nullptr;
  std::unordered_map<std::uint64_t, std::unique_ptr<Transfer>> transfers_;
  std::vector<CURL*> spare_;
};

}  // namespace penstock::discovery
