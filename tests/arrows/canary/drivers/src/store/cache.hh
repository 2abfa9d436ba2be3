#include "store/storage.hh"
