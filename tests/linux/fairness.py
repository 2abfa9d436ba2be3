#!/usr/bin/python3
"""Flows that share the relay's bottleneck: one of own TCP and one of Linux's CUBIC; ten of own TCP.
usage: fairness.py BUILD [--rounds 3] [--seconds 60] [--rtts 20,100] [--cases pair,ten,linux]

Says for each run the share of every flow and Jain's index, and whether the limits hold. `linux`, two
flows of Linux, is for comparison and has no limit.
"""

import argparse
import json
import os
import statistics
import sys

import path as paths
from goodput import LATE_MOST, RATE, link_options

LIMITS = {"pair": 0.9, "ten": 0.95, "linux": 0}


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(v * v for v in values))


def run(build, case, rtt, seed, seconds):
    relay = os.path.join(build, "tests/relay/relay")
    own_bulk = os.path.join(build, "tests/linux/own_bulk")
    flows = 10 if case == "ten" else 2
    road = paths.Path(relay, link_options(f"0x{rtt}", seed, seconds + 90))
    try:
        receiver = paths.receiver(road, "kernel", "b", seconds, own_bulk, flows)
        there = (paths.KERNEL["b"], seconds + 30, own_bulk)
        # The order changes: who is first has the queue to itself for some milliseconds.
        kinds = {"ten": [("own", 10)], "linux": [("cubic", 1)] * 2}.get(
            case, [("own", 1), ("cubic", 1)][:: 1 if seed % 2 else -1]
        )
        senders = [paths.sender(road, kind, "a", *there, count) for kind, count in kinds]
        got = receiver.result(seconds + 60)
        said = [sender.stop() for sender in senders]
    finally:
        figures = road.close()
    late = figures["ab"]["late"] + figures["ba"]["late"]
    frames = figures["ab"]["frames"] + figures["ba"]["frames"]
    rates = {
        f"{'own' if f['peer'] == paths.OWN['a'] else 'linux'} {i}": f["bytes"] * 8 / f["seconds"]
        for i, f in enumerate(got["flows"])
    }
    return {
        "case": case,
        "rtt_ms": rtt,
        "seed": seed,
        "jain": jain(list(rates.values())),
        "used": sum(rates.values()) / RATE,
        "mbps": {name: round(rate / 1e6, 2) for name, rate in rates.items()},
        "congestion": [s.get("congestion", "own CUBIC") for s in said],
        "intact": all(f["intact"] for f in got["flows"]),
        "late": late,
        "frames": frames,
        "trusted": late <= frames * LATE_MOST and figures["ab"]["no_slot"] == 0,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rtts", type=lambda s: s.split(","), default=["20", "100"])
    parser.add_argument("--cases", type=lambda s: s.split(","), default=["pair", "ten"])
    options = parser.parse_args()
    why_not = paths.begin()
    if why_not:
        print(f"skipped: {why_not}", file=sys.stderr)
        return 77
    good = True
    for case in options.cases:
        for rtt in options.rtts:
            rows = [
                run(options.build, case, rtt, seed, options.seconds)
                for seed in range(1, options.rounds + 1)
            ]
            for row in rows:
                print(json.dumps(row), flush=True)
            median = statistics.median(row["jain"] for row in rows)
            least = min(row["jain"] for row in rows)
            holds = median >= LIMITS[case] and all(row["intact"] for row in rows)
            good &= holds
            print(
                f"{case}, {rtt} ms: Jain's index {median:.3f} (median), {least:.3f} (least);"
                f" at least {LIMITS[case]}: {'holds' if holds else 'FAILED'}",
                flush=True,
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
