#include "swarm/nowhere.hh"
