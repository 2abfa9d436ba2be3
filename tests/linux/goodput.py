#!/usr/bin/python3
"""Own TCP against Linux's, over the same bad path. usage:

    goodput.py run BUILD --out FILE [--cells 1x20,0x100] [--rounds 5] [--seconds 20] [--first-round N]
                   [--kinds own-kernel,kernel-own,cubic,bbr] [--jobs 2] [--captures DIR]
    goodput.py table FILE…
    goodput.py smoke BUILD

BUILD: the build folder. A cell is LOSS%xRTTms. `run` appends a line of JSON for each transfer to
FILE; `table` reads such files, says medians and ratios, and whether the limits hold. `smoke` is
for CI: both directions for two seconds, byte by byte, without figures.
"""

import argparse
import concurrent.futures
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading

import path as paths

CELLS = [f"{loss}x{rtt}" for rtt in ("1", "20", "100") for loss in ("0", "0.1", "1", "3")]
KINDS = {  # sender, receiver
    "own-kernel": ("own", "kernel"),
    "kernel-own": ("cubic", "own"),
    "cubic": ("cubic", "kernel"),
    "bbr": ("bbr", "kernel"),
}
RATE = 50e6  # bit/s
QUEUE_LEAST = 62_500  # 10 ms
RATIO_LEAST, RATIO_ALL = 0.85, 1.0
LATE_MOST = 0.01  # frames more than 100 µs late, of all: a transfer beyond that is repeated
TRIES = 3


def link_options(cell, seed, seconds):
    loss, rtt = cell.split("x")
    queue = max(int(RATE / 8 * float(rtt) / 1e3), QUEUE_LEAST)
    half = f"delay={int(float(rtt) * 500)}us"
    return [
        *("--ab", f"rate={int(RATE / 1e6)}Mbps,queue={queue}B,{half},loss={loss}%"),
        *("--ba", half, "--seed", str(seed), "--seconds", str(seconds), "--slack", "0us"),
    ]


def transfer(build, cell, kind, number, seconds, captures):
    """One transfer; what is known of it."""
    sends, takes = KINDS[kind]
    relay = os.path.join(build, "tests/relay/relay")
    own_bulk = os.path.join(build, "tests/linux/own_bulk")
    road = paths.Path(relay, link_options(cell, number, seconds + 90))
    file = captures and os.path.join(captures, f"{cell}_{kind}_{number}.pcapng")
    try:
        if captures:
            road.capture("a", file)
        receiver = paths.receiver(road, takes, "b", seconds, own_bulk)
        address = (paths.OWN if takes == "own" else paths.KERNEL)["b"]
        sender = paths.sender(road, sends, "a", address, seconds + 30, own_bulk)
        got = receiver.result(seconds + 60)
        said = sender.stop()
    finally:
        figures = road.close()
    seen = paths.analyse(file) if captures else {"streams": [None], "tshark": None}
    flow = got["flows"][0]
    link = figures["ab"]
    out = {
        "cell": cell,
        "kind": kind,
        "round": number,
        "seconds": flow["seconds"],
        "goodput": flow["bytes"] * 8 / flow["seconds"],
        "intact": flow["intact"] if "intact" in flow else got["intact"],
        "congestion": said.get("congestion", "own CUBIC"),
        "counters": said["counters"],
        "capture": seen["streams"][0],
        "tshark_spurious": seen["tshark"],
        "late": link["late"] + figures["ba"]["late"],
        "late_us_max": max(link["late_us_max"], figures["ba"]["late_us_max"]),
        "frames": link["frames"] + figures["ba"]["frames"],
        "no_slot": link["no_slot"],
        "lost": link["lost"],
        "queue_drops": link["queue_drops"],
    }
    out["trusted"] = out["late"] <= out["frames"] * LATE_MOST and out["no_slot"] == 0
    return out


def run(options):
    os.makedirs(options.captures, exist_ok=True)
    lock = threading.Lock()
    rounds = range(options.first_round, options.first_round + options.rounds)
    jobs = []
    for n in rounds:
        some = [(c, k, n) for c in options.cells for k in options.kinds]
        # Those that run at once are not all of the busiest cells.
        random.Random(n).shuffle(some)
        jobs += some

    def job(cell, kind, number):
        row = None
        for attempt in range(1, TRIES + 1):
            try:
                row = transfer(
                    options.build, cell, kind, number, options.seconds, options.captures
                )
            except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
                print(f"{cell} {kind} {number}: {error!r}", file=sys.stderr, flush=True)
                continue
            if row["trusted"]:
                break
        if row is None:
            return False
        row["attempt"] = attempt
        if not options.keep:
            os.remove(os.path.join(options.captures, f"{cell}_{kind}_{number}.pcapng"))
        with lock, open(options.out, "a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        print(
            f"{cell:>7} {kind:<10} {number} {row['goodput'] / 1e6:7.2f} Mbit/s"
            f" again {row['capture']['segments_again']} dsacks {row['capture']['dsacks']}"
            f" late {row['late']}/{row['frames']} ({row['late_us_max']} us)"
            f"{'' if row['trusted'] else ' NOT TRUSTED'}",
            file=sys.stderr,
            flush=True,
        )
        return row["intact"]

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        good = list(pool.map(lambda j: job(*j), jobs))
    return 0 if all(good) else 1


def smoke(build):
    good = True
    for kind in ("own-kernel", "kernel-own"):
        row = transfer(build, "1x20", kind, 1, 2, None)
        print(json.dumps(row))
        good &= row["intact"] and row["goodput"] > 100e3
    return 0 if good else 1


def load(files):
    rows = {}
    for file in files:
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                rows.setdefault((row["cell"], row["kind"]), []).append(row)
    return rows


def table(files):
    rows = load(files)
    cells = [c for c in CELLS if (c, "cubic") in rows]
    print("Mbit/s, medians | loss % × RTT ms | own→Linux | Linux→own | CUBIC→Linux | BBR→Linux")
    ratios, failures = {"own-kernel": [], "kernel-own": []}, []
    for cell in cells:
        medians = {
            k: statistics.median(r["goodput"] for r in rows[cell, k]) / 1e6
            for k in KINDS
            if (cell, k) in rows
        }
        text = f"| {cell.replace('x', ' × ')} |"
        for kind in KINDS:
            text += f" {medians[kind]:.2f}" if kind in medians else " –"
            if kind in ratios and kind in medians:
                ratio = medians[kind] / medians["cubic"]
                ratios[kind].append(ratio)
                text += f" ({ratio:.2f})"
                if ratio < RATIO_LEAST:
                    failures.append(f"{cell} {kind}: {ratio:.2f}")
            text += " |"
        counts = {
            k: [
                sum(r["capture"][f] for r in rows[cell, k]) / len(rows[cell, k])
                for f in ("segments_again", "spurious", "dsacks", "acks_of_unsent")
            ]
            + [sum(r["tshark_spurious"] for r in rows[cell, k]) / len(rows[cell, k])]
            for k in KINDS
            if (cell, k) in rows
        }
        print(text, " ".join(f"{k}:{'/'.join(f'{v:.1f}' for v in c)}" for k, c in counts.items()))
        if "own-kernel" in counts:
            for name, i in (("spurious", 1), ("tshark", 4)):
                if counts["own-kernel"][i] > counts["cubic"][i]:
                    failures.append(f"{cell}: {name} retransmissions {counts['own-kernel'][i]}")
        for kind, count in counts.items():
            if count[3]:
                failures.append(f"{cell} {kind}: {count[3]} ACKs of unsent data")
    for kind, values in [*ratios.items(), ("both", sum(ratios.values(), []))]:
        if values:
            mean = math.exp(sum(map(math.log, values)) / len(values))
            print(f"{kind}: geometric mean of the ratios {mean:.3f}, least {min(values):.2f}")
            if kind == "both" and mean < RATIO_ALL:
                failures.append(f"{mean:.3f} over all")
    every = [r for some in rows.values() for r in some]
    late = sum(r["late"] for r in every) / max(sum(r["frames"] for r in every), 1)
    untrusted = sum(not r["trusted"] for r in every)
    print(f"{len(every)} transfers, late frames {late:.5%}, not trusted: {untrusted}")
    names = sorted({f"{r['kind']}: {r['congestion']}" for r in every})
    print("; ".join(names))
    for failure in failures:
        print("FAILED", failure)
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("build")
    running.add_argument("--out", required=True)
    running.add_argument("--cells", type=lambda s: s.split(","), default=CELLS)
    running.add_argument("--kinds", type=lambda s: s.split(","), default=list(KINDS))
    running.add_argument("--rounds", type=int, default=5)
    running.add_argument("--first-round", type=int, default=1)
    running.add_argument("--seconds", type=int, default=20)
    running.add_argument("--jobs", type=int, default=1)
    running.add_argument("--captures", default=os.path.join(tempfile.gettempdir(), "goodput"))
    running.add_argument("--keep", action="store_true", help="keep the captures")
    commands.add_parser("table").add_argument("files", nargs="+")
    commands.add_parser("smoke").add_argument("build")
    options = parser.parse_args()
    if options.command == "table":
        return table(options.files)
    why_not = paths.begin()
    if why_not:
        print(f"skipped: {why_not}", file=sys.stderr)
        return 1 if os.environ.get("STRICT") == "1" else 77
    return smoke(options.build) if options.command == "smoke" else run(options)


if __name__ == "__main__":
    sys.exit(main())
