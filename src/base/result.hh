// How start-up, configuration and control code reports failure: a value with words in it.
//
// An Error is built where the failure is seen ("what"), is given context on the way up ("where"),
// and is printed once. The data path doesn't use it: there a failure is an enumerator (a close
// reason, a drop reason).
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace penstock {

// What kind of failure this is: decides the exit status of a command.
enum class ErrorKind {
  failed,  // the thing asked for could not be done
  usage,   // the command line, the configuration or an input file is wrong
  not_found,
  io,  // the operating system refused; the message carries errno's text
};

struct Error {
  ErrorKind kind = ErrorKind::failed;
  std::string message;  // "what was wrong, and what to do", without a trailing full stop

  // The same error, seen one level higher: "opening a.torrent: not a bencoded dictionary".
  [[nodiscard]] Error context(std::string_view where) && {
    return Error{kind, std::string(where) + ": " + std::move(message)};
  }
  [[nodiscard]] Error context(std::string_view where) const& {
    return Error{kind, std::string(where) + ": " + message};
  }
};

template <class T>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> fail(std::string message,
                                                ErrorKind kind = ErrorKind::failed) {
  return tl::unexpected<Error>(Error{kind, std::move(message)});
}

}  // namespace penstock
