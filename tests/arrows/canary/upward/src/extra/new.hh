#include "base/units.hh"
