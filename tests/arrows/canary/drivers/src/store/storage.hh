#include "crypto/digest.hh"
