// The appliance's HTTP interface: GET of a handful of paths, for machines on the same host.
//
// libmicrohttpd polls all connections on one thread of its own, so that slow clients cost nothing.
// Whoever can connect can read, so it listens on loopback unless told otherwise; the Host header
// must be an address, "localhost" or a name from the configuration, so that a web page in a browser
// on this host can't read it through a name of its own (DNS rebinding).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hh"
#include "base/result.hh"

namespace penstock::control {

struct HttpAnswer {
  unsigned status = 200;
  std::string content_type;  // with charset
  std::string body;
};

// The answer to GET of this path (without the query). Called on the server's thread.
using HttpHandler = std::function<HttpAnswer(std::string_view path)>;

// Whether a Host header may be answered. hosts: names that are good besides addresses.
bool host_allowed(std::string_view header, const std::vector<std::string>& hosts);

class HttpServer {
 public:
  static Result<std::unique_ptr<HttpServer>> start(const Endpoint& listen,
                                                   std::vector<std::string> hosts,
                                                   HttpHandler handler);
  // Ends all connections and joins.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it really listens.
  [[nodiscard]] Endpoint listening() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::control
