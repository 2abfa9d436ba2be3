#include "discovery/announce_manager.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.hh"
#include "discovery/http_fetch.hh"
#include "discovery/resolver.hh"
#include "discovery/udp_tracker.hh"
#include "wire/tracker_http.hh"

namespace penstock::discovery {
namespace {

constexpr Duration kAddressesKept = Duration::seconds(600);
constexpr Duration kNoAddressesKept = Duration::seconds(60);
// A stop has a short deadline and announces only once: it may press a little.
constexpr std::uint32_t kPerHostAtStop = 16;
constexpr std::size_t kDatagramMax = 65536;

Instant now_monotonic() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return Instant{static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec};
}

std::uint64_t unpredictable() {
  std::uint64_t value = 0;
  if (getrandom(&value, sizeof value, 0) != sizeof value) {
    value = static_cast<std::uint64_t>(now_monotonic().ns);
  }
  return value;
}

// What a tracker's URL says, taken apart.
struct TrackerUrl {
  bool udp = false;
  std::string host;  // without brackets
  std::uint16_t port = 0;
  std::string path;  // with the query
};

std::optional<TrackerUrl> take_apart(const std::string& url) {
  CURLU* parsed = curl_url();
  if (parsed == nullptr) return std::nullopt;
  const auto part = [&](CURLUPart which, unsigned flags = 0) {
    char* text = nullptr;
    std::string copy;
    if (curl_url_get(parsed, which, &text, flags) == CURLUE_OK) copy = text;
    curl_free(text);
    return copy;
  };
  std::optional<TrackerUrl> result;
  if (curl_url_set(parsed, CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
    TrackerUrl made;
    made.udp = part(CURLUPART_SCHEME) == "udp";
    made.host = part(CURLUPART_HOST);
    if (made.host.starts_with('[')) made.host = made.host.substr(1, made.host.size() - 2);
    const std::string port = part(CURLUPART_PORT, made.udp ? 0 : CURLU_DEFAULT_PORT);
    made.port = static_cast<std::uint16_t>(std::strtoul(port.c_str(), nullptr, 10));
    made.path = part(CURLUPART_PATH);
    if (made.path == "/") made.path.clear();
    const std::string query = part(CURLUPART_QUERY);
    if (!query.empty()) made.path += "?" + query;
    if (!made.host.empty() && made.port != 0) result = std::move(made);
  }
  curl_url_cleanup(parsed);
  return result;
}

socklen_t to_sockaddr(const Endpoint& endpoint, sockaddr_storage& out) {
  out = {};
  if (endpoint.ip.is_v4()) {
    auto& in = reinterpret_cast<sockaddr_in&>(out);
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    std::memcpy(&in.sin_addr, endpoint.ip.bytes.data() + 12, 4);
    return sizeof in;
  }
  auto& in6 = reinterpret_cast<sockaddr_in6&>(out);
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(endpoint.port);
  std::memcpy(&in6.sin6_addr, endpoint.ip.bytes.data(), 16);
  return sizeof in6;
}

Endpoint from_sockaddr(const sockaddr_storage& address) {
  Endpoint endpoint;
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    endpoint.ip = IpAddress::v4(0, 0, 0, 0);
    std::memcpy(endpoint.ip.bytes.data() + 12, &in.sin_addr, 4);
    endpoint.port = ntohs(in.sin_port);
  } else {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
    std::memcpy(endpoint.ip.bytes.data(), &in6.sin6_addr, 16);
    endpoint.port = ntohs(in6.sin6_port);
  }
  return endpoint;
}

AnnounceResult failed(AnnounceOutcome outcome, std::string error) {
  AnnounceResult result;
  result.outcome = outcome;
  result.error = std::move(error);
  return result;
}

Duration retry_in_of(std::span<const std::byte> body) {
  const auto minutes = wire::decode_retry_in(body);
  constexpr std::uint32_t kMinutesMax = 365 * 24 * 60;
  if (!minutes) return Duration{};
  return *minutes > kMinutesMax ? Duration::max() : Duration::seconds(60) * *minutes;
}

AnnounceResult result_of_http(const FetchAnswer& answer) {
  if (!answer.reached) return failed(AnnounceOutcome::unreachable, answer.error);
  if (!answer.error.empty()) return failed(AnnounceOutcome::refused, answer.error);
  // Some trackers put their "failure reason" into an error page: the body counts first.
  const auto response = wire::decode_announce_body(answer.body);
  if (response) return result_of(*response);
  if (response.error().kind == ErrorKind::failed || answer.status == 200) {
    AnnounceResult refused = failed(AnnounceOutcome::refused, response.error().message);
    refused.retry_in = retry_in_of(answer.body);
    return refused;
  }
  const std::string status = "HTTP status " + std::to_string(answer.status);
  // A gateway that is overloaded speaks for the whole host.
  return failed(answer.status >= 500 ? AnnounceOutcome::unreachable : AnnounceOutcome::refused,
                status);
}

}  // namespace

class AnnounceManager::Worker {
 public:
  explicit Worker(AnnounceOptions options)
      : options_(std::move(options)),
        announcer_(options_.settings.limits, unpredictable()),
        udp_(unpredictable()),
        session_key_(static_cast<std::uint32_t>(unpredictable())) {}
  ~Worker();

  Result<void> start();
  void add(std::uint64_t key, const std::vector<WireInfoHash>& hashes,
           const std::vector<std::vector<std::string>>& tiers);
  void remove(const std::vector<WireInfoHash>& hashes);
  void set_settings(const AnnounceSettings& settings);
  std::uint64_t stop(Duration deadline);
  AnnouncerCounters counters() const;
  std::optional<SwarmStatus> status(const WireInfoHash& hash) const;

 private:
  // An announce under way: over IPv4, IPv6 or both (BEP 7: so that the tracker knows both
  // addresses).
  struct Job {
    Announce announce;
    TrackerUrl url;
    std::vector<std::uint64_t> parts;  // tokens of HttpFetch or UdpTracker
    AnnounceResult failure;            // of the parts that are through
  };
  struct HostAddresses {
    std::vector<IpAddress> addresses;
    std::string error;
    Instant until{};  // known until; while asking: never
    bool asking = false;
    std::vector<std::uint64_t> waiting;  // jobs
  };
  struct Swarm {
    std::uint64_t key = 0;
    std::uint64_t uploaded = 0;  // as last announced; doesn't sink when the torrent goes
  };

  void run();
  void begin(const Announce& announce);
  void send_parts(std::uint64_t job_token, Job& job, const HostAddresses& host);
  void part_done(std::uint64_t part, const AnnounceResult& result);
  void finish(std::uint64_t job_token, const AnnounceResult& result);
  wire::AnnounceRequest request_of(const Announce& announce);
  void take_resolved();
  void take_http();
  void open_udp();
  void read_udp(int socket_fd);
  void send_udp();
  bool wait();
  void forget_gone(const WireInfoHash& hash);

  AnnounceOptions options_;
  std::unique_ptr<HttpFetch> http_;
  std::unique_ptr<Resolver> resolver_;
  std::thread thread_;

  mutable std::mutex mutex_;  // guards the six below
  Announcer announcer_;
  std::unordered_map<std::string, Swarm> swarms_;  // by the hash's bytes
  AnnounceSettings settings_changed_;
  bool settings_new_ = false;
  bool stopping_ = false;
  Instant stop_by_ = Instant::never();

  // The worker's thread only.
  UdpTracker udp_;
  int udp4_ = -1;
  int udp6_ = -1;
  std::uint32_t session_key_;
  std::uint64_t last_part_ = 0;
  std::unordered_map<std::uint64_t, Job> jobs_;             // by the announcer's token
  std::unordered_map<std::uint64_t, std::uint64_t> parts_;  // part → job
  std::map<std::string, HostAddresses> hosts_;
  std::vector<std::byte> datagram_;
};

namespace {
std::string key_of(const WireInfoHash& hash) {
  return {reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size()};
}
}  // namespace

AnnounceManager::Worker::~Worker() {
  if (thread_.joinable()) {
    stop(Duration{});
  }
  resolver_.reset();  // before http_, which it wakes
  if (udp4_ >= 0) close(udp4_);
  if (udp6_ >= 0) close(udp6_);
}

Result<void> AnnounceManager::Worker::start() {
  auto http = HttpFetch::make(options_.user_agent);
  if (!http) return tl::unexpected(http.error());
  http_ = std::move(*http);
  http_->set_per_host_max(2 * options_.settings.limits.per_host_max);
  resolver_ = std::make_unique<Resolver>([this] { http_->wake(); });
  datagram_.resize(kDatagramMax);
  open_udp();
  thread_ = std::thread([this] { run(); });
  return {};
}

// A socket that can't be had or bound (no IPv6, an address that is gone) leaves its family out.
void AnnounceManager::Worker::open_udp() {
  const auto open_one = [](const AnnounceSource& source, const IpAddress& any) {
    if (!source.enabled) return -1;
    sockaddr_storage address{};
    const socklen_t length = to_sockaddr({source.address.value_or(any), 0}, address);
    const int made = socket(address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made < 0) return -1;
    const int on = 1;
    if (address.ss_family == AF_INET6) {
      setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (bind(made, reinterpret_cast<sockaddr*>(&address), length) == 0) return made;
    close(made);
    return -1;
  };
  udp4_ = open_one(options_.v4, IpAddress::v4(0, 0, 0, 0));
  udp6_ = open_one(options_.v6, IpAddress{});
}

void AnnounceManager::Worker::add(std::uint64_t key, const std::vector<WireInfoHash>& hashes,
                                  const std::vector<std::vector<std::string>>& tiers) {
  {
    const std::lock_guard lock(mutex_);
    for (const WireInfoHash& hash : hashes) {
      if (announcer_.add(now_monotonic(), hash, tiers)) swarms_[key_of(hash)] = Swarm{key, 0};
    }
  }
  http_->wake();
}

void AnnounceManager::Worker::remove(const std::vector<WireInfoHash>& hashes) {
  {
    const std::lock_guard lock(mutex_);
    for (const WireInfoHash& hash : hashes) {
      announcer_.remove(now_monotonic(), hash);
      forget_gone(hash);
    }
  }
  http_->wake();
}

// With the mutex held.
void AnnounceManager::Worker::forget_gone(const WireInfoHash& hash) {
  SwarmStatus status;
  if (!announcer_.status(hash, status)) swarms_.erase(key_of(hash));
}

void AnnounceManager::Worker::set_settings(const AnnounceSettings& settings) {
  {
    const std::lock_guard lock(mutex_);
    settings_changed_ = settings;
    settings_new_ = true;
    if (!stopping_) announcer_.set_limits(settings.limits);
  }
  http_->wake();
}

std::uint64_t AnnounceManager::Worker::stop(Duration deadline) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    const Instant now = now_monotonic();
    stop_by_ = now + deadline;
    AnnouncerLimits limits = options_.settings.limits;
    limits.per_host_max = std::max(limits.per_host_max, kPerHostAtStop);
    announcer_.set_limits(limits);
    announcer_.remove_all(now);
  }
  http_->wake();
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  return announcer_.counters().swarms;
}

AnnouncerCounters AnnounceManager::Worker::counters() const {
  const std::lock_guard lock(mutex_);
  return announcer_.counters();
}

std::optional<SwarmStatus> AnnounceManager::Worker::status(const WireInfoHash& hash) const {
  const std::lock_guard lock(mutex_);
  SwarmStatus status;
  return announcer_.status(hash, status) ? std::optional(status) : std::nullopt;
}

void AnnounceManager::Worker::run() {
  do {
    take_resolved();
    take_http();
    if (udp4_ >= 0) read_udp(udp4_);
    if (udp6_ >= 0) read_udp(udp6_);
    udp_.on_timeout(now_monotonic());
    UdpAnswer answer;
    while (udp_.poll_answer(answer))
      part_done(answer.token, answer.result);
    for (;;) {
      Announce announce;
      {
        const std::lock_guard lock(mutex_);
        if (!announcer_.poll_announce(now_monotonic(), announce)) break;
      }
      begin(announce);
    }
    send_udp();
  } while (wait());
}

// False when it is time to end.
bool AnnounceManager::Worker::wait() {
  const Instant now = now_monotonic();
  Instant next = udp_.next_timeout();
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ && (announcer_.idle() || now >= stop_by_)) return false;
    if (std::exchange(settings_new_, false)) {
      options_.settings = settings_changed_;
      http_->set_per_host_max(2 * settings_changed_.limits.per_host_max);
    }
    next = earlier(next, announcer_.next_timeout());
    next = earlier(next, stop_by_);
  }
  std::vector<curl_waitfd> sockets;
  if (udp4_ >= 0) sockets.push_back({udp4_, CURL_WAIT_POLLIN, 0});
  if (udp6_ >= 0) sockets.push_back({udp6_, CURL_WAIT_POLLIN, 0});
  const Duration most = Duration::seconds(60);
  http_->wait(sockets, next == Instant::never() ? most : std::min(most, next - now));
  return true;
}

wire::AnnounceRequest AnnounceManager::Worker::request_of(const Announce& announce) {
  wire::AnnounceRequest request;
  request.info_hash = announce.info_hash;
  static_assert(sizeof request.peer_id == sizeof options_.peer_id);
  std::memcpy(&request.peer_id, options_.peer_id.data(), options_.peer_id.size());
  request.event = announce.event;
  request.peers_wanted = 0;  // they come to us
  request.key = session_key_;
  request.tracker_id = announce.tracker_id;
  std::uint64_t key = 0;
  {
    const std::lock_guard lock(mutex_);
    key = swarms_[key_of(announce.info_hash)].key;
  }
  const std::uint64_t uploaded = options_.uploaded(key);
  const std::lock_guard lock(mutex_);
  Swarm& swarm = swarms_[key_of(announce.info_hash)];
  swarm.uploaded = std::max(swarm.uploaded, uploaded);
  request.uploaded = swarm.uploaded;
  return request;
}

void AnnounceManager::Worker::begin(const Announce& announce) {
  const auto url = take_apart(announce.url);
  Job& job = jobs_[announce.token];
  job = Job{};
  job.announce = announce;
  job.failure = failed(AnnounceOutcome::unreachable, "no address");
  if (!url) {
    finish(announce.token, failed(AnnounceOutcome::refused, "not a tracker's URL"));
    return;
  }
  job.url = *url;
  HostAddresses& host = hosts_[url->host];
  const Instant now = now_monotonic();
  if (!host.asking && host.until > now) {
    send_parts(announce.token, job, host);
    return;
  }
  host.waiting.push_back(announce.token);
  if (host.asking) return;
  host.asking = true;
  resolver_->ask(url->host);
  take_resolved();  // an address is its own answer
}

void AnnounceManager::Worker::take_resolved() {
  Resolver::Answer answer;
  while (resolver_->poll(answer)) {
    HostAddresses& host = hosts_[answer.host];
    host.asking = false;
    host.addresses = answer.addresses;
    host.error = answer.error;
    host.until = now_monotonic() + (answer.addresses.empty() ? kNoAddressesKept : kAddressesKept);
    const std::vector<std::uint64_t> waiting = std::exchange(host.waiting, {});
    for (const std::uint64_t token : waiting) {
      const auto job = jobs_.find(token);
      if (job != jobs_.end()) send_parts(token, job->second, hosts_[answer.host]);
    }
  }
}

// One part a family that the host has addresses of.
void AnnounceManager::Worker::send_parts(std::uint64_t job_token, Job& job,
                                         const HostAddresses& host) {
  if (host.addresses.empty()) {
    finish(job_token, failed(AnnounceOutcome::unreachable, host.error));
    return;
  }
  wire::AnnounceRequest request = request_of(job.announce);
  // A torrent is a stranger's: it shall not make us ask just anything of services on this host.
  const bool loopback_ok = job.url.path.starts_with("/announce");
  const std::uint64_t first_part = last_part_ + 1;
  for (const bool v4 : {true, false}) {
    const AnnounceSource& source = v4 ? options_.v4 : options_.v6;
    const auto address = std::find_if(host.addresses.begin(), host.addresses.end(),
                                      [&](const IpAddress& ip) { return ip.is_v4() == v4; });
    if (!source.enabled || address == host.addresses.end()) continue;
    const std::uint64_t part = ++last_part_;
    parts_[part] = job_token;
    job.parts.push_back(part);
    request.port = source.port;
    if (job.url.udp) {
      udp_.start(now_monotonic(), part, {*address, job.url.port}, request, job.url.path);
    } else {
      http_->start(part, wire::announce_url(job.announce.url, request),
                   {.family = v4 ? IpFamily::v4 : IpFamily::v6,
                    .source = source.address,
                    .timeout = options_.settings.timeout,
                    .loopback_ok = loopback_ok});
    }
  }
  if (last_part_ < first_part) {
    finish(job_token, failed(AnnounceOutcome::unreachable,
                             "it has no address of the families that we listen on"));
  }
}

// The first family that is accepted decides; the other goes on, but nobody waits for it. A job
// fails when all of its parts did: with the tracker's words if there are any.
void AnnounceManager::Worker::part_done(std::uint64_t part, const AnnounceResult& result) {
  const auto found = parts_.find(part);
  if (found == parts_.end()) return;
  const std::uint64_t job_token = found->second;
  parts_.erase(found);
  const auto job = jobs_.find(job_token);
  ASSERT(job != jobs_.end());
  std::erase(job->second.parts, part);
  if (result.outcome == AnnounceOutcome::accepted) {
    finish(job_token, result);
    return;
  }
  AnnounceResult& failure = job->second.failure;
  if (failure.outcome != AnnounceOutcome::refused) failure = result;
  if (job->second.parts.empty()) finish(job_token, AnnounceResult(failure));
}

void AnnounceManager::Worker::finish(std::uint64_t job_token, const AnnounceResult& result) {
  const auto job = jobs_.find(job_token);
  ASSERT(job != jobs_.end());
  for (const std::uint64_t part : job->second.parts)
    parts_.erase(part);
  if (result.outcome == AnnounceOutcome::accepted) {
    spdlog::debug("announced {} to {}", job->second.announce.info_hash.hex(),
                  job->second.announce.url);
  } else {
    spdlog::debug("announcing {} to {}: {}", job->second.announce.info_hash.hex(),
                  job->second.announce.url, result.error);
  }
  const WireInfoHash hash = job->second.announce.info_hash;
  jobs_.erase(job);
  const std::lock_guard lock(mutex_);
  announcer_.on_result(now_monotonic(), job_token, result);
  forget_gone(hash);
}

void AnnounceManager::Worker::take_http() {
  FetchAnswer answer;
  while (http_->poll(answer))
    part_done(answer.token, result_of_http(answer));
}

void AnnounceManager::Worker::read_udp(int socket_fd) {
  // Bounded: a flood must not keep the thread here.
  for (int i = 0; i < 256; ++i) {
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    const ssize_t got = recvfrom(socket_fd, datagram_.data(), datagram_.size(), 0,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;
    udp_.on_datagram(now_monotonic(), from_sockaddr(from),
                     std::span(datagram_).first(static_cast<std::size_t>(got)));
  }
}

void AnnounceManager::Worker::send_udp() {
  Endpoint to;
  std::vector<std::byte> bytes;
  while (udp_.poll_transmit(to, bytes)) {
    sockaddr_storage address{};
    const socklen_t length = to_sockaddr(to, address);
    const int socket_fd = to.ip.is_v4() ? udp4_ : udp6_;
    // What can't be sent is as good as lost on the way: it is sent again in time.
    if (sendto(socket_fd, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&address),
               length) < 0) {
      spdlog::debug("sending to tracker {}: {}", to.to_string(),
                    std::error_code(errno, std::generic_category()).message());
    }
  }
}

void set_sources(AnnounceOptions& options, const std::vector<Endpoint>& listening,
                 std::uint16_t port) {
  const auto take = [port](AnnounceSource& source, const Endpoint& endpoint) {
    if (source.enabled) return;
    source.enabled = true;
    source.port = port != 0 ? port : endpoint.port;
    if (!endpoint.ip.is_unspecified()) source.address = endpoint.ip;
  };
  // Listeners for every address first: with one of them any address will do.
  for (const bool wild : {true, false}) {
    for (const Endpoint& endpoint : listening) {
      if (endpoint.ip.is_unspecified() != wild) continue;
      if (!endpoint.ip.is_v4()) take(options.v6, endpoint);
      if (endpoint.ip.is_v4() || wild) take(options.v4, endpoint);
    }
  }
}

AnnounceManager::AnnounceManager(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
AnnounceManager::~AnnounceManager() = default;

Result<std::unique_ptr<AnnounceManager>> AnnounceManager::start(AnnounceOptions options) {
  auto worker = std::make_unique<Worker>(std::move(options));
  if (auto started = worker->start(); !started) return tl::unexpected(started.error());
  return std::unique_ptr<AnnounceManager>(new AnnounceManager(std::move(worker)));
}

void AnnounceManager::add(std::uint64_t key, const std::vector<WireInfoHash>& hashes,
                          const std::vector<std::vector<std::string>>& tiers) {
  worker_->add(key, hashes, tiers);
}
void AnnounceManager::remove(const std::vector<WireInfoHash>& hashes) {
  worker_->remove(hashes);
}
void AnnounceManager::set_settings(const AnnounceSettings& settings) {
  worker_->set_settings(settings);
}
std::uint64_t AnnounceManager::stop(Duration deadline) {
  return worker_->stop(deadline);
}
AnnouncerCounters AnnounceManager::counters() const {
  return worker_->counters();
}
std::optional<SwarmStatus> AnnounceManager::status(const WireInfoHash& hash) const {
  return worker_->status(hash);
}

}  // namespace penstock::discovery
