#include "base/units.hh"
#include "shard/agent.hh"
#include "shard/mailbox.hh"
