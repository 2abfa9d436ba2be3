#include "disk_posix/disk.hh"

#include "crypto/digest.hh"
#include "store/cache.hh"
#include "store/storage.hh"
#include "stream/byte_stream.hh"
#include "uring/ring.hh"
