#include "control/metrics.hh"
