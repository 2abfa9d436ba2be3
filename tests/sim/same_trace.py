#!/usr/bin/env python3
"""The same seeds leave the same traces: in another process, in another order, beside others.

usage: same_trace.py TCP_SIM
"""
import subprocess
import sys

SEEDS = "1..40"


def traces(program, jobs):
    return subprocess.check_output([program, "--seeds", SEEDS, "--jobs", jobs], text=True)


def main():
    first, second = traces(sys.argv[1], "1"), traces(sys.argv[1], "3")
    lines = first.splitlines()
    if len(lines) != 40 or len({line.split()[2] for line in lines}) != 40:
        sys.exit(f"{len(lines)} lines, not one hash a seed")
    different = [pair for pair in zip(lines, second.splitlines()) if pair[0] != pair[1]]
    for one, other in different:
        print(f"{one}\n{other}\n")
    return 1 if different or first != second else 0


if __name__ == "__main__":
    sys.exit(main())
