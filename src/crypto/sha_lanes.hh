// Two messages at once on one core (x86 SHA extensions).
//
// Why: a SHA round waits for the one before it, so a single message leaves the unit idle most of
// the time: SHA1RNDS4 and SHA256RNDS2 take 4 to 6 cycles but can start every 2 or 3. A second,
// independent message fills the gaps. Measured on data in cache: README.md.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penstock::sha_lanes {

// Whether this CPU can run what is below. Constant for the life of the process.
bool available();

// Compresses `blocks` 64-byte blocks of each message into its state: the hash values of FIPS 180-4
// as native integers. Only if available().
void sha1(std::uint32_t* state_a, const std::byte* a, std::uint32_t* state_b, const std::byte* b,
          std::size_t blocks);
void sha256(std::uint32_t* state_a, const std::byte* a, std::uint32_t* state_b, const std::byte* b,
            std::size_t blocks);

}  // namespace penstock::sha_lanes
