#include "discovery/resolver.hh"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace penstock::discovery {
namespace {

// Whether packets to this address would leave: connecting a UDP socket asks the routing table.
bool routable(const addrinfo& address) {
  const int probe = socket(address.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  const bool leaves = connect(probe, address.ai_addr, address.ai_addrlen) == 0;
  close(probe);
  return leaves;
}

Resolver::Answer look_up(const std::string& host) {
  Resolver::Answer answer;
  answer.host = host;
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* list = nullptr;
  // A port, since connecting to port 0 is refused.
  const int error = getaddrinfo(host.c_str(), "6969", &hints, &list);
  if (error != 0) {
    answer.error = gai_strerror(error);
    return answer;
  }
  for (const addrinfo* item = list; item != nullptr; item = item->ai_next) {
    IpAddress ip;
    if (item->ai_family == AF_INET) {
      const auto* in = reinterpret_cast<const sockaddr_in*>(item->ai_addr);
      ip = IpAddress::v4(0, 0, 0, 0);
      std::memcpy(ip.bytes.data() + 12, &in->sin_addr, 4);
    } else if (item->ai_family == AF_INET6) {
      const auto* in6 = reinterpret_cast<const sockaddr_in6*>(item->ai_addr);
      std::memcpy(ip.bytes.data(), &in6->sin6_addr, 16);
    } else {
      continue;
    }
    const auto& all = answer.addresses;
    if (std::find(all.begin(), all.end(), ip) == all.end() && routable(*item)) {
      answer.addresses.push_back(ip);
    }
  }
  freeaddrinfo(list);
  if (answer.addresses.empty()) answer.error = "no route to any of its addresses";
  return answer;
}

}  // namespace

// Outlives the Resolver when a lookup is under way.
struct Resolver::Shared {
  std::mutex mutex;
  std::condition_variable asked;
  std::deque<std::string> questions;
  std::deque<Answer> answers;
  std::function<void()> wake;
  bool stopping = false;
};

Resolver::Resolver(std::function<void()> wake) : shared_(std::make_shared<Shared>()) {
  shared_->wake = std::move(wake);
  std::thread([shared = shared_] { run(shared); }).detach();
}

Resolver::~Resolver() {
  const std::lock_guard lock(shared_->mutex);
  shared_->stopping = true;
  shared_->asked.notify_all();
}

void Resolver::run(const std::shared_ptr<Shared>& shared) {
  std::unique_lock lock(shared->mutex);
  for (;;) {
    shared->asked.wait(lock, [&] { return shared->stopping || !shared->questions.empty(); });
    if (shared->stopping) return;
    const std::string host = std::move(shared->questions.front());
    shared->questions.pop_front();
    lock.unlock();
    Answer answer = look_up(host);
    lock.lock();
    if (shared->stopping) return;
    shared->answers.push_back(std::move(answer));
    // Under the lock: the destructor takes it before what wake() touches goes away.
    shared->wake();
  }
}

void Resolver::ask(const std::string& host) {
  const std::lock_guard lock(shared_->mutex);
  if (const auto ip = parse_ip(host)) {
    shared_->answers.push_back({host, {*ip}, ""});
    return;
  }
  shared_->questions.push_back(host);
  shared_->asked.notify_all();
}

bool Resolver::poll(Answer& out) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->answers.empty()) return false;
  out = std::move(shared_->answers.front());
  shared_->answers.pop_front();
  return true;
}

}  // namespace penstock::discovery
