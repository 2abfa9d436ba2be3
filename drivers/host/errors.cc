#include "host/errors.hh"

#include <cstring>

namespace penstock::host {

tl::unexpected<Error> os_error(std::string_view what, int error) {
  char text[128];
  // The GNU variant: the result need not be `text`.
  const char* words = ::strerror_r(error, text, sizeof text);
  return fail(std::string(what) + ": " + words, ErrorKind::io);
}

}  // namespace penstock::host
