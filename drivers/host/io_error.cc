#include "host/io_error.hh"

#include <cerrno>

namespace penstock::host {

IoError open_error(int error) {
  switch (error) {
    case 0:
      return IoError::none;
    case ENOENT:
    case ENOTDIR:
    case ELOOP:         // a symbolic link too many, or one that may not be followed
    case EXDEV:         // RESOLVE_BENEATH: the path leaves its pool
    case ENAMETOOLONG:  // no such file can exist
    case EINVAL:        // nor with such a name (some file systems refuse characters)
    case EILSEQ:
      return IoError::not_found;
    case EACCES:
    case EPERM:
      return IoError::forbidden;
    case EISDIR:
    case ENXIO:   // a FIFO or a socket
    case ENODEV:  // a device without a driver
      return IoError::not_a_file;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:  // renames kept racing with the look-up, or a lease is being broken
    case EBUSY:
    case ETXTBSY:
      return IoError::exhausted;
    case ESTALE:
    case EBADF:
      return IoError::stale;
    default:  // EIO, EOVERFLOW, EREMOTEIO, ETIMEDOUT, EUCLEAN, and what a file system may invent
      return IoError::media;
  }
}

IoError read_error(int error) {
  switch (error) {
    case 0:
      return IoError::none;
    case ENOENT:  // network and FUSE file systems: removed on the server
      return IoError::not_found;
    case EACCES:
    case EPERM:
      return IoError::forbidden;
    case EISDIR:
      return IoError::not_a_file;
    case ENOMEM:
    case ENOBUFS:
    case EAGAIN:
    case EMFILE:
    case ENFILE:
      return IoError::exhausted;
    case ESTALE:
    case EBADF:
      return IoError::stale;
    default:  // EIO, EINVAL, EBADMSG, EUCLEAN, ENODATA, EREMOTEIO, ETIMEDOUT, ENXIO, ENODEV, EFAULT
      return IoError::media;
  }
}

}  // namespace penstock::host
