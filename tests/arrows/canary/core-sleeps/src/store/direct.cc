#include <liburing.h>
#include <sys/socket.h>
