// Tells the service manager how far we are: systemd's protocol (sd_notify(3)), a datagram of lines
// to the socket that $NOTIFY_SOCKET names. Without that variable nothing is said.
#pragma once

#include <string>
#include <string_view>

namespace penstock::control {

class ServiceNotifier {
 public:
  // socket: as $NOTIFY_SOCKET has it, a path or "@name" (abstract); empty: nobody wants to know.
  explicit ServiceNotifier(std::string socket) : socket_(std::move(socket)) {}
  // From the environment.
  ServiceNotifier();

  // Serving, from the start or again after reloading(). status: a line for people.
  void ready(std::string_view status) const;
  void reloading() const;
  void stopping() const;

 private:
  void send(const std::string& lines) const;
  std::string socket_;
};

}  // namespace penstock::control
