#include "peer/session.hh"
#include "uring/ring.hh"
