#include <mutex>

#include <rte_mbuf.h>
