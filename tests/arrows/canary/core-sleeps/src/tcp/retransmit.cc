#include <chrono>
#include <cstdint>
#include <thread>
