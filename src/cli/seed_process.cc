#include "cli/seed_process.hh"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock::cli {
namespace {

constexpr std::chrono::seconds kStartMax(60);  // hashing nothing, but pages for the cache
constexpr int kStopMaxMs = 10'000;

// In the child: only what may be called between fork and exec.
[[noreturn]] void become_seed(char* const* argv, int output, const cpu_set_t& cpus, pid_t parent) {
  ::sched_setaffinity(0, sizeof cpus, &cpus);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int silence = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(silence, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(silence, STDERR_FILENO);
  ::execv("/proc/self/exe", argv);
  ::_exit(127);
}

}  // namespace

Result<std::unique_ptr<SeedProcess>> SeedProcess::start(const std::vector<std::string>& arguments,
                                                        const cpu_set_t& cpus) {
  std::vector<std::string> words{"penstock", "seed", "--json"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words)
    argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail(std::string("the seed's pipe: ") + std::strerror(errno), ErrorKind::io);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become_seed(argv.data(), ends[1], cpus, parent);
  ::close(ends[1]);
  if (pid < 0) {
    ::close(ends[0]);
    return fail(std::string("the seed's process: ") + std::strerror(errno), ErrorKind::io);
  }
  std::unique_ptr<SeedProcess> seed(new SeedProcess(pid, ends[0]));
  std::unique_lock lock(seed->mutex_);
  seed->said_.wait_for(lock, kStartMax, [&] { return seed->listening_ || seed->gone_; });
  if (!seed->error_.empty()) return fail("the seed: " + seed->error_);
  if (!seed->listening_) return fail("the seed did not start");
  lock.unlock();
  return seed;
}

SeedProcess::SeedProcess(pid_t pid, int output)
    : pid_(pid), output_(output), reader_([this] { read_lines(); }) {}

SeedProcess::~SeedProcess() {
  ::kill(pid_, SIGTERM);
  {
    std::unique_lock lock(mutex_);
    said_.wait_for(lock, std::chrono::milliseconds(kStopMaxMs), [this] { return gone_; });
    if (!gone_) ::kill(pid_, SIGKILL);
  }
  reader_.join();
  ::waitpid(pid_, nullptr, 0);
  ::close(output_);
}

nlohmann::json SeedProcess::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

bool SeedProcess::gone() const {
  const std::lock_guard lock(mutex_);
  return gone_;
}

// Until its stdout ends, which is when it does.
void SeedProcess::read_lines() {
  std::string text;
  char bytes[4096];
  for (;;) {
    const ssize_t n = ::read(output_, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(bytes, static_cast<std::size_t>(n));
    for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
      take(text.substr(0, end));
      text.erase(0, end + 1);
    }
  }
  const std::lock_guard lock(mutex_);
  gone_ = true;
  said_.notify_all();
}

void SeedProcess::take(const std::string& line) {
  nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
  if (object.is_discarded()) return;
  const std::string event = object.value("event", "");
  const std::lock_guard lock(mutex_);
  listening_ |= event == "listening";
  if (object.contains("error")) error_ = object.value("error", "");
  if (event == "status") status_ = std::move(object);
  said_.notify_all();
}

}  // namespace penstock::cli
