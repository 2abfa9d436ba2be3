#include "support/own_network.hh"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include <sched.h>
#include <unistd.h>

namespace penstock::support {
namespace {

bool write_file(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  return static_cast<bool>(file);
}

std::string enter() {
  const uid_t user = ::getuid();
  const gid_t group = ::getgid();
  // Root needs no namespace of users, and a sanitizer's thread would forbid one.
  if (user == 0 && ::unshare(CLONE_NEWNET) == 0) return {};
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    return std::string("no network of our own here: unshare: ") + std::strerror(errno);
  }
  write_file("/proc/self/setgroups", "deny");
  if (!write_file("/proc/self/uid_map", "0 " + std::to_string(user) + " 1\n") ||
      !write_file("/proc/self/gid_map", "0 " + std::to_string(group) + " 1\n")) {
    return "no network of our own here: the namespace's ids can't be mapped";
  }
  return {};
}

}  // namespace

const std::string& enter_own_network() {
  static const std::string why_not = enter();
  return why_not;
}

bool ip(const std::string& arguments) {
  return std::system(("ip " + arguments + " >&2").c_str()) == 0;
}

}  // namespace penstock::support
