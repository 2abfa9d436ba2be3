#include <base/units.hh>

#include "../store/cache.hh"
#include "swarm/choker.hh"
