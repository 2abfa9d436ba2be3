// "Did you mean": the known word nearest to a mistyped one.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace penstock::control {

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. Case and
// '-' against '_' count nothing. Words longer than 64 bytes are compared by their first 64.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The nearest of `known`, or empty when none is near enough to be what was meant: a third of its
// letters may differ, and at least one.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace penstock::control
