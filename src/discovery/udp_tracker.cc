#include "discovery/udp_tracker.hh"

#include "base/assert.hh"
#include "wire/tracker_udp.hh"

namespace penstock::discovery {
namespace {

constexpr std::uint32_t kDefaultIntervalSeconds = 1800;

Duration timeout_of(std::uint32_t attempts) {
  return UdpTracker::kFirstTimeout * (std::int64_t{1} << (attempts - 1));
}

AnnounceResult unreachable(std::string error) {
  AnnounceResult result;
  result.outcome = AnnounceOutcome::unreachable;
  result.error = std::move(error);
  return result;
}

AnnounceResult refused(std::string error) {
  AnnounceResult result;
  result.outcome = AnnounceOutcome::refused;
  result.error = std::move(error);
  return result;
}

}  // namespace

AnnounceResult result_of(const wire::AnnounceResponse& response) {
  AnnounceResult result;
  result.interval =
      Duration::seconds(response.interval_s != 0 ? response.interval_s : kDefaultIntervalSeconds);
  result.interval_min = Duration::seconds(response.min_interval_s);
  result.tracker_id = response.tracker_id;
  return result;
}

void UdpTracker::start(Instant now, std::uint64_t token, const Endpoint& tracker,
                       const wire::AnnounceRequest& request, std::string path_and_query) {
  Request& made = requests_[token];
  ASSERT(made.attempts == 0 && !made.sent);
  made.tracker = tracker;
  made.request = request;
  made.path_and_query = std::move(path_and_query);
  Server& server = servers_[tracker];
  server.tokens.insert(token);
  if (server.valid_until > now) {
    announce(now, made, server);
  } else if (!server.connecting) {
    connect(now, tracker, server);
  }
}

void UdpTracker::cancel(std::uint64_t token) {
  const auto found = requests_.find(token);
  if (found == requests_.end()) return;
  servers_.at(found->second.tracker).tokens.erase(token);
  requests_.erase(found);
}

void UdpTracker::connect(Instant now, const Endpoint& tracker, Server& server) {
  if (!server.connecting) server.attempts = 0;
  server.connecting = true;
  server.transaction = new_transaction();
  ++server.attempts;
  server.retry_at = now + timeout_of(server.attempts);
  const auto bytes = wire::encode_udp_connect(server.transaction);
  outbox_.push_back({tracker, {bytes.begin(), bytes.end()}});
}

void UdpTracker::announce(Instant now, Request& request, const Server& server) {
  request.sent = true;
  request.transaction = new_transaction();
  ++request.attempts;
  request.retry_at = now + timeout_of(request.attempts);
  outbox_.push_back(
      {request.tracker, wire::encode_udp_announce(server.connection, request.transaction,
                                                  request.request, request.path_and_query)});
}

void UdpTracker::finish(std::uint64_t token, AnnounceResult result) {
  cancel(token);
  answers_.push_back({token, std::move(result)});
}

void UdpTracker::fail_waiting(const Endpoint& tracker, const std::string& error) {
  const std::set<std::uint64_t> tokens = servers_.at(tracker).tokens;
  for (const std::uint64_t token : tokens) {
    if (!requests_.at(token).sent) finish(token, unreachable(error));
  }
}

void UdpTracker::on_connected(Instant now, Server& server, std::uint64_t connection) {
  server.connecting = false;
  server.retry_at = Instant::never();
  server.connection = connection;
  server.valid_until = now + kConnectionLife;
  for (const std::uint64_t token : server.tokens) {
    Request& request = requests_.at(token);
    if (!request.sent) announce(now, request, server);
  }
}

void UdpTracker::on_announce_answer(const Endpoint& from, std::uint64_t token, Server& server,
                                    std::span<const std::byte> datagram) {
  const auto header = wire::decode_udp_header(datagram);
  if (header->action == wire::UdpAction::error) {
    // It may be the connection id that it doesn't like: the next announce gets a new one.
    server.valid_until = Instant{};
    finish(token, refused(wire::decode_udp_error(datagram).value_or("error without words")));
    return;
  }
  if (header->action != wire::UdpAction::announce) return;
  const auto response = wire::decode_udp_announce(datagram, !from.ip.is_v4());
  finish(token, response ? result_of(*response) : refused("an answer that makes no sense"));
}

void UdpTracker::on_datagram(Instant now, const Endpoint& from,
                             std::span<const std::byte> datagram) {
  const auto found = servers_.find(from);
  const auto header = wire::decode_udp_header(datagram);
  if (found == servers_.end() || !header) return;
  Server& server = found->second;
  if (server.connecting && header->transaction == server.transaction) {
    if (header->action == wire::UdpAction::error) {
      server.connecting = false;
      server.retry_at = Instant::never();
      const std::string words = wire::decode_udp_error(datagram).value_or("error without words");
      fail_waiting(from, "the tracker refuses to connect: " + words);
    } else if (const auto connection = wire::decode_udp_connect(datagram)) {
      on_connected(now, server, *connection);
    }
    return;
  }
  for (const std::uint64_t token : server.tokens) {
    const Request& request = requests_.at(token);
    if (!request.sent || request.transaction != header->transaction) continue;
    on_announce_answer(from, token, server, datagram);
    return;
  }
}

void UdpTracker::on_timeout(Instant now) {
  const std::string silence = "no answer";
  std::vector<std::uint64_t> late;
  for (const auto& [token, request] : requests_) {
    if (request.sent && request.retry_at <= now) late.push_back(token);
  }
  for (const std::uint64_t token : late) {
    Request& request = requests_.at(token);
    if (request.attempts >= kAttemptsMax) {
      finish(token, unreachable(silence));
      continue;
    }
    Server& server = servers_.at(request.tracker);
    if (server.valid_until > now) {
      announce(now, request, server);
    } else {
      request.sent = false;
      if (!server.connecting) connect(now, request.tracker, server);
    }
  }
  for (auto it = servers_.begin(); it != servers_.end();) {
    Server& server = it->second;
    if (server.connecting && server.retry_at <= now) {
      if (server.attempts < kAttemptsMax && !server.tokens.empty()) {
        connect(now, it->first, server);
      } else {
        server.connecting = false;
        server.retry_at = Instant::never();
        fail_waiting(it->first, silence);
      }
    }
    const bool idle = server.tokens.empty() && !server.connecting && server.valid_until <= now;
    it = idle ? servers_.erase(it) : std::next(it);
  }
}

Instant UdpTracker::next_timeout() const {
  Instant next = Instant::never();
  for (const auto& [token, request] : requests_) {
    if (request.sent) next = earlier(next, request.retry_at);
  }
  for (const auto& [tracker, server] : servers_)
    next = earlier(next, server.retry_at);
  return next;
}

bool UdpTracker::poll_transmit(Endpoint& to, std::vector<std::byte>& datagram) {
  if (outbox_.empty()) return false;
  to = outbox_.front().to;
  datagram = std::move(outbox_.front().bytes);
  outbox_.pop_front();
  return true;
}

bool UdpTracker::poll_answer(UdpAnswer& out) {
  if (answers_.empty()) return false;
  out = std::move(answers_.front());
  answers_.pop_front();
  return true;
}

}  // namespace penstock::discovery
