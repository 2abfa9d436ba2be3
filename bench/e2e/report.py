"""What seed_vs_peers found, for people: a table in Markdown, the verdict on the targets, a plot."""

import json

import plot

GiB = 1 << 30


def _row(cells, widths):
    return "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(cells, widths)) + " |"


def markdown(head, rows):
    widths = [max(len(str(line[i])) for line in [head, *rows]) for i in range(len(head))]
    return "\n".join([_row(head, widths), "|" + "|".join("-" * (w + 2) for w in widths) + "|",
                      *(_row(row, widths) for row in rows)])


def table(results):
    counts = sorted({row["connections"] for row in results["rows"]})
    by = {(row["server"], row["connections"]): row for row in results["rows"]}
    names = list(dict.fromkeys(row["server"] for row in results["rows"]))
    head = ["server", "congestion control", *(f"{n}: MB/s, seed, both" for n in counts), "calls/GiB", "peak MiB",
            "1 in flight: p50, p99 us"]
    lines = []
    for name in names:
        cells = [name, "+".join(next(r for r in results["rows"] if r["server"] == name)["congestion"])]
        for n in counts:
            row = by.get((name, n))
            note = f" ({row['active']:.0f} served)" if row and row["active"] < n else ""
            cells.append(f"{row['rate'] / 1e6:.0f}, {row['seed']:.3f}, {row['both']:.3f}{note}" if row else "")
        calls = results["syscalls"].get(name)
        cells.append(f"{calls['per_gib']:.0f}" if calls else "")
        cells.append(f"{results['memory_peak_bytes'].get(name, 0) / (1 << 20):.0f}")
        latency = results["latency"].get(name)
        cells.append(f"{latency['p50'] * 1e6:.0f}, {latency['p99'] * 1e6:.0f}" if latency else "")
        lines.append(cells)
    text = (f"{results['dataset_bytes'] / GiB:.2f} GiB in memory, medians of {results['rounds']} rounds of "
            f"{results['window_seconds']} s; seed and both: CPU seconds per GiB of the seed, and of seed and load\n\n"
            + markdown(head, lines))
    disturbed = sum(row["disturbed"] for row in results["rows"])
    if disturbed:
        text += (f"\n\nIn {disturbed} of {sum(row['rounds'] for row in results['rows'])} windows the hypervisor took more "
                 "than 1 % of the processors all the same.")
    verdict = verdicts(results, by, counts, names)
    return text + ("\n\n" + "\n".join(verdict) if verdict else "")


def _ratio(by, one, other, n, key):
    """Median over rounds of the ratio within a round."""
    a, b = by[one, n]["samples"], by[other, n]["samples"]
    ratios = sorted(x[key] / y[key] for x, y in zip(a, b) if y[key])
    return ratios[len(ratios) // 2] if ratios else float("nan")


def verdicts(results, by, counts, names):
    """Each target of the issue with what was found."""
    lines = []
    peers = [n for n in names if any(r["server"] == n and r["kind"] == "peer" for r in results["rows"])]
    if "penstock" not in names:
        return lines

    def judge(what, value, limit):
        lines.append(f"{'ok  ' if value <= limit else 'MISS'} {what}: {value:.3f} (limit {limit})")

    for n in counts:
        if ("penstock", n) not in by:
            continue
        rivals = [p for p in peers if (p, n) in by]
        for key, limit in (("both", 0.5), ("seed", 0.25)):
            if not rivals:
                continue
            best = min(rivals, key=lambda p: by[p, n][key])
            judge(f"{n} connections, {key} against {best} (best peer)", _ratio(by, "penstock", best, n, key), limit)
        if ("nginx", n) in by:
            judge(f"{n} connections, both against nginx", _ratio(by, "penstock", "nginx", n, "both"), 1.1)
    if ("penstock", 10) in by and ("penstock", 500) in by:
        judge("both at 500 connections against 10", by["penstock", 500]["both"] / by["penstock", 10]["both"], 1.25)
    if "penstock" in results["syscalls"]:
        judge("system calls per GiB", results["syscalls"]["penstock"]["per_gib"], 15000)
    if "penstock" in results["latency"]:
        latency = results["latency"]["penstock"]
        note = f", in {latency['disturbed']} of {len(latency['samples'])} windows the hypervisor took more than 1 %"
        for key, limit in (("p50", 120), ("p99", 250)):
            judge(f"one in flight, {key} us{note if latency['disturbed'] else ''}", latency[key] * 1e6, limit)
    return lines


def write(results, text, out):
    with open(out + ".json", "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    with open(out + ".md", "w") as file:
        file.write(text + "\n")
    with open(out + ".svg", "w") as file:
        file.write(plot.seed_vs_peers(results))
