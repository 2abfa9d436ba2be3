// Host names to addresses, on a thread of its own, since getaddrinfo blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/address.hh"

namespace penstock::discovery {

class Resolver {
 public:
  // Called on the resolver's thread whenever poll() has something new.
  explicit Resolver(std::function<void()> wake);
  // Doesn't wait for a lookup under way: its answer is dropped.
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  struct Answer {
    std::string host;
    std::vector<IpAddress> addresses;  // those that there is a route to; empty: none
    std::string error;                 // why
  };

  // Asks for a host; an answer comes through poll(). An address is its own answer.
  void ask(const std::string& host);
  bool poll(Answer& out);

 private:
  struct Shared;
  static void run(const std::shared_ptr<Shared>& shared);
  std::shared_ptr<Shared> shared_;
};

}  // namespace penstock::discovery
