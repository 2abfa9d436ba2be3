#include "control/http_server.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <system_error>

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

namespace penstock::control {
namespace {

// A scraper or two, a person, a health check; more wait in the listener's queue.
constexpr unsigned kConnectionsMax = 64;
constexpr unsigned kIdleSeconds = 30;
// Requests have no body and few headers.
constexpr std::size_t kMemoryPerConnection = 16 * 1024;

std::string error_text(int error) {
  return std::error_code(error, std::generic_category()).message();
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    const auto low = [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    return low(x) == low(y);
  });
}

// A listening socket, so that every error has its own words and IPv6 is dual-stack.
Result<int> listen_on(const Endpoint& where) {
  const bool v4 = where.ip.is_v4();
  const int family = v4 ? AF_INET : AF_INET6;
  const int socket_fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_fd < 0) return fail(error_text(errno), ErrorKind::io);
  const int on = 1;
  const int off = 0;
  setsockopt(socket_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (!v4) setsockopt(socket_fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(where.port);
  std::memcpy(&in.sin_addr, where.ip.bytes.data() + 12, 4);
  sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(where.port);
  std::memcpy(&in6.sin6_addr, where.ip.bytes.data(), 16);
  const auto* address = v4 ? reinterpret_cast<sockaddr*>(&in) : reinterpret_cast<sockaddr*>(&in6);
  const socklen_t length = v4 ? sizeof in : sizeof in6;
  if (bind(socket_fd, address, length) != 0 || listen(socket_fd, 64) != 0) {
    const int error = errno;
    close(socket_fd);
    return fail(error_text(error), ErrorKind::io);
  }
  return socket_fd;
}

}  // namespace

bool host_allowed(std::string_view header, const std::vector<std::string>& hosts) {
  // HTTP/1.0 needs none, and no browser sends HTTP/1.0.
  if (header.empty()) return true;
  std::string_view host = header;
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    if (end == std::string_view::npos) return false;
    return parse_ip(host.substr(1, end - 1)).has_value();
  }
  host = host.substr(0, host.find(':'));
  if (parse_ip(host) || same_name(host, "localhost")) return true;
  return std::any_of(hosts.begin(), hosts.end(),
                     [&](const std::string& name) { return same_name(host, name); });
}

struct HttpServer::Impl {
  MHD_Daemon* daemon = nullptr;
  std::vector<std::string> hosts;
  HttpHandler handler;
  Endpoint listening;

  HttpAnswer answer(MHD_Connection* connection, const char* url, const char* method) const {
    const char* host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    if (!host_allowed(host == nullptr ? "" : host, hosts)) {
      return {403, "text/plain; charset=utf-8",
              "this Host is not ours: see [http] hosts in the configuration\n"};
    }
    if (std::strcmp(method, "GET") != 0 && std::strcmp(method, "HEAD") != 0) {
      return {405, "text/plain; charset=utf-8", "only GET\n"};
    }
    try {
      return handler(url);
    } catch (const std::exception& error) {
      spdlog::error("answering GET {}: {}", url, error.what());
      return {500, "text/plain; charset=utf-8", "failed; the log says why\n"};
    }
  }

  static MHD_Result on_request(void* self, MHD_Connection* connection, const char* url,
                               const char* method, const char*, const char*,
                               std::size_t* upload_size, void** state) {
    // The first call is for the headers only; a body, which nobody needs, is thrown away.
    static char seen;
    if (*state == nullptr) {
      *state = &seen;
      return MHD_YES;
    }
    if (*upload_size != 0) {
      *upload_size = 0;
      return MHD_YES;
    }
    HttpAnswer answer = static_cast<Impl*>(self)->answer(connection, url, method);
    MHD_Response* response = MHD_create_response_from_buffer(answer.body.size(), answer.body.data(),
                                                             MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", answer.content_type.c_str());
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (answer.status == 405) MHD_add_response_header(response, "Allow", "GET, HEAD");
    const MHD_Result queued = MHD_queue_response(connection, answer.status, response);
    MHD_destroy_response(response);
    return queued;
  }

  static void on_log(void*, const char* format, va_list arguments) {
    char text[512];
    std::vsnprintf(text, sizeof text, format, arguments);
    std::string_view line(text);
    while (line.ends_with('\n'))
      line.remove_suffix(1);
    spdlog::debug("http: {}", line);
  }
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  if (impl_->daemon != nullptr) MHD_stop_daemon(impl_->daemon);
}

Endpoint HttpServer::listening() const {
  return impl_->listening;
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const Endpoint& listen,
                                                      std::vector<std::string> hosts,
                                                      HttpHandler handler) {
  const std::string context = "http.listen " + listen.to_string();
  const auto socket_fd = listen_on(listen);
  if (!socket_fd) return tl::unexpected(socket_fd.error().context(context));
  auto impl = std::make_unique<Impl>();
  impl->hosts = std::move(hosts);
  impl->handler = std::move(handler);
  impl->listening = listen;
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (getsockname(*socket_fd, reinterpret_cast<sockaddr*>(&bound), &length) == 0) {
    // The port is at the same place for both families.
    impl->listening.port = ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  }
  constexpr unsigned kFlags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG;
  impl->daemon = MHD_start_daemon(
      kFlags, 0, nullptr, nullptr, &Impl::on_request, impl.get(), MHD_OPTION_EXTERNAL_LOGGER,
      &Impl::on_log, nullptr, MHD_OPTION_LISTEN_SOCKET, *socket_fd, MHD_OPTION_CONNECTION_LIMIT,
      kConnectionsMax, MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, kMemoryPerConnection, MHD_OPTION_END);
  if (impl->daemon == nullptr) {
    close(*socket_fd);
    return fail(context + ": the HTTP server doesn't start", ErrorKind::io);
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

}  // namespace penstock::control
