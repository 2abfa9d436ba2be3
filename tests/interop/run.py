#!/usr/bin/python3
"""Fetches datasets from a seed with stock BitTorrent clients and compares every byte. See
README.md.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import cable
import clients
import datasets
import seeds
import support

RESUME_LIMIT_MIB = 20
KINDS = ["fetch", "pair", "resume", "kill"]
INSIDE = "PENSTOCK_INTEROP_NAMESPACE"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One fetch: by one client, by several at once, or by one that is stopped and started again, be
    it alone or because its seed was killed.
    """

    kind: str  # "fetch", "pair", "resume" or "kill"
    clients: tuple
    dataset: str
    shards: int = 1
    disable: str = ""
    creator: str = "libtorrent"  # who made the .torrent
    network: str = "kernel"  # of the seed: cable.KINDS

    def __str__(self):
        disabled = f" without {self.disable}" if self.disable else ""
        made = f" made by {self.creator}" if self.creator != "libtorrent" else ""
        who = "+".join(self.clients)
        over = f" over {self.network}" if self.network != "kernel" else ""
        return f"{self.kind} {who} {self.dataset} shards={self.shards}{disabled}{made}{over}"


class Runner:
    def __init__(self, options):
        self.options = options
        self.end = time.monotonic() + options.budget
        self.datasets = {}

    def prepare(self, cells):
        penstock = self.options.seed_program
        if penstock == "libtorrent":
            penstock = os.path.abspath("build/penstock")
        for name, creator in dict.fromkeys((cell.dataset, cell.creator) for cell in cells):
            program = penstock if creator == "penstock" else None
            self.datasets[name, creator] = datasets.make(name, program)

    def seed(self, cell, folder):
        limit = RESUME_LIMIT_MIB if cell.kind in ("resume", "kill") else 0
        dataset = self.datasets[cell.dataset, cell.creator]
        os.makedirs(folder)
        if self.options.seed_program == "libtorrent":
            return seeds.LibtorrentSeed(dataset, folder, upload_limit_mib=limit)
        wire = address = None
        if cell.network == "kernel6":
            address = support.NAMESPACE_ADDRESS6
        elif cell.network != "kernel":
            wire = cable.Cable(cell.network, self.options.relay, folder)
        return seeds.PenstockSeed(
            dataset,
            folder,
            self.options.seed_program,
            shards=cell.shards,
            disable=cell.disable,
            upload_limit_mib=limit,
            cable=wire,
            address=address,
        )

    def run(self, cell):
        """Returns (cell, seconds, error, log). An empty error is success."""
        start = time.monotonic()
        seconds = min(self.options.deadline, self.end - start)
        if seconds <= 0:
            return cell, 0.0, "not run: the budget is used up", ""
        folder = tempfile.mkdtemp(prefix="penstock-interop-")
        processes, error = [], ""
        try:
            try:
                self._run(cell, folder, support.Deadline(seconds), processes)
            except support.Crash as crash:
                # A client that crashes twice has a reason. Once: qBittorrent 4.5.2 does, now and
                # then, in the second after its start (FreeDiskSpaceChecker).
                if crash.name not in clients.ALL:
                    raise
                print(f"once more, {cell}: {crash}", flush=True)
                processes.clear()
                again = os.path.join(folder, "again")
                os.makedirs(again)
                self._run(cell, again, support.Deadline(seconds), processes)
        except support.Failure as failure:
            error = str(failure)
        except (
            Exception
        ) as failure:  # the harness's own: shown as a failure of this cell, the others go on
            error = f"{type(failure).__name__}: {failure}"
        log = (
            "\n".join(f"--- {p.name}: {p.log}\n{p.log_tail()}" for p in processes) if error else ""
        )
        if not (error and self.options.keep):
            shutil.rmtree(folder, ignore_errors=True)
        return cell, time.monotonic() - start, error, log

    def _run(self, cell, folder, deadline, processes):
        dataset = self.datasets[cell.dataset, cell.creator]
        seed = self.seed(cell, os.path.join(folder, "seed"))
        processes.append(seed.process)
        running = []
        try:
            for i, name in enumerate(cell.clients):
                client = clients.ALL[name](dataset, seed.peer, os.path.join(folder, f"{i}-{name}"))
                running.append(client)
                client.start()
                processes.append(client.process)
            if cell.kind in ("resume", "kill"):
                self._stop_in_mid_transfer(running[0], dataset, deadline)
                if cell.kind == "kill":
                    self._kill(seed, deadline)
                    processes.append(seed.process)
                running[0].start()
                processes.append(running[0].process)
            for client in running:
                deadline.wait_until(
                    client.complete, f"{client.name} to have everything", client.process
                )
            for client in running:
                client.stop()
                support.compare_trees(dataset.source, client.result, client.makes_empty_files)
        except BaseException:
            for client in running:
                if client.process and client.process not in processes:
                    processes.append(client.process)
                client.close()
            seed.kill()
            raise
        for client in running:
            client.close()
        seed.stop()

    @staticmethod
    def _kill(seed, deadline):
        """Nothing of it is left, and another one can be in its place at once."""
        seed.process.stop(signal.SIGKILL)
        left = seed.cable.left_by(seed.port, deadline) if seed.cable else []
        if left:
            raise support.Failure(f"the killed seed left {', '.join(left)}")
        seed.start()

    @staticmethod
    def _stop_in_mid_transfer(client, dataset, deadline):
        """It has a fifth by then."""
        size = dataset.size()
        deadline.wait_until(
            lambda: support.allocated_bytes(client.downloads) > size * 0.2,
            f"{client.name} to have a fifth",
            client.process,
        )
        complete = client.complete()
        client.stop()
        if complete:
            raise support.Failure(
                f"{client.name} was done before it could be stopped: the seed's limit does not hold"
            )


def fetch_cells(names, wanted, shards, disable):
    return [
        Cell("fetch", (client,), dataset, count, disabled)
        for disabled in disable
        for count in shards
        for dataset in wanted
        for client in names
        if datasets.version(dataset) in clients.ALL[client].versions
    ]


def plan(options):
    """The cells of the matrix, those first that say most."""
    names, wanted = options.clients, options.datasets
    cells = fetch_cells(names, wanted, options.shards, [""])
    large = "large"
    if options.quick:
        # Each client, each dataset and each shard count once or more, not their product.
        kept, seen = [], set()
        for i, cell in enumerate(cells):
            marks = {
                (cell.clients, datasets.version(cell.dataset)),
                (cell.dataset, cell.shards),
                (cell.clients, cell.shards),
            }
            if not marks <= seen:
                kept.append(cell)
                seen |= marks
        cells = kept
    pairs = list(zip(names, names[1:] + names[:1])) if len(names) > 1 else []
    if options.quick:
        pairs = pairs[::2]
    most = max(options.shards)
    cells += [Cell("pair", pair, large, most) for pair in pairs if len(set(pair)) > 1]
    cells += [Cell("resume", (name,), large, most) for name in names]
    cells += [Cell("kill", (name,), large, most) for name in names[:1]]
    for disabled in options.disable:
        counts = [most] if options.quick else options.shards
        cells += fetch_cells(
            names, ["multi"] if "multi" in wanted else wanted[:1], counts, [disabled]
        )
    if "penstock" in options.creator:
        some = (
            [name for name in ("libtorrent", "aria2") if name in names] if options.quick else names
        )
        cells += [
            dataclasses.replace(cell, creator="penstock")
            for cell in fetch_cells(some, wanted, [most], [""])
        ]
    if options.network != ["kernel"]:
        cells = [
            dataclasses.replace(
                cell,
                network=network,
                disable="uring" if "-threads" in network else cell.disable,
            )
            for network in options.network
            for cell in cells
            if network.startswith("kernel") or cell.shards == 1
        ]
    # The slowest first, so that no worker is left with it at the end.
    return sorted(dict.fromkeys(cells), key=lambda cell: "transmission" not in cell.clients)


def enter_namespace(as_root):
    """Runs this program again in network, PID and user namespaces of its own, where the machine
    allows that.

    No client then sees a network, ports can't collide, and nothing outlives the run. Returns if
    there are no namespaces to be had. as_root: what needs the machine's own root stays possible, if
    we are that.
    """
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for address in (f"{support.NAMESPACE_ADDRESS}/32", f"{support.NAMESPACE_ADDRESS6}/128"):
            subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
        return
    # Root in a chroot gets no user namespace, and needs none.
    ways = [["--user", "--map-root-user"], []]
    for user in reversed(ways) if as_root and os.geteuid() == 0 else ways:
        wrap = ["unshare", *user, "--net", "--pid", "--fork", "--kill-child"]
        if (
            shutil.which("unshare")
            and subprocess.run([*wrap, "true"], capture_output=True).returncode == 0
        ):
            os.environ[INSIDE] = "1"
            os.execvp(wrap[0], [*wrap, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    print(
        "interop: no namespaces here (unshare): running on the machine's own loopback",
        file=sys.stderr,
    )


def words(known):
    def parse(text):
        chosen = [word for word in text.split(",") if word]
        unknown = [word for word in chosen if known and word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return chosen

    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seed-program",
        default="build/penstock",
        metavar="PROGRAM",
        help='the penstock to test, or "libtorrent" to test the harness (default: %(default)s)',
    )
    parser.add_argument(
        "--creator",
        type=words(["libtorrent", "penstock"]),
        default=["libtorrent"],
        metavar="A,B",
        help='"libtorrent,penstock" adds cells whose .torrent Penstock made',
    )
    parser.add_argument(
        "--clients", type=words(list(clients.ALL)), default=list(clients.ALL), metavar="A,B"
    )
    parser.add_argument(
        "--datasets",
        type=words(datasets.NAMES),
        default=["multi", "single", "v2", "hybrid"],
        metavar="A,B",
        help=f"of {', '.join(datasets.NAMES)}",
    )
    parser.add_argument(
        "--shards", type=lambda text: [int(n) for n in text.split(",")], default=[1], metavar="N,N"
    )
    parser.add_argument(
        "--disable",
        type=words(None),
        default=[],
        metavar="A,B",
        help="repeat some cells with each of these in PENSTOCK_DISABLE",
    )
    parser.add_argument(
        "--network",
        type=words(list(cable.KINDS)),
        default=["kernel"],
        metavar="A,B",
        help=f"the seed's TCP and its cable, of {', '.join(cable.KINDS)}",
    )
    parser.add_argument(
        "--relay",
        default="build/tests/relay/relay",
        metavar="PROGRAM",
        help="for bad cables (default: %(default)s)",
    )
    parser.add_argument(
        "--kinds", type=words(KINDS), default=KINDS, metavar="A,B", help=f"of {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="each client, dataset and shard count, not their product",
    )
    parser.add_argument("--jobs", type=int, default=3, help="cells at once (default: %(default)s)")
    parser.add_argument(
        "--deadline", type=float, default=90, metavar="S", help="per cell (default: %(default)s)"
    )
    parser.add_argument(
        "--budget", type=float, default=1800, metavar="S", help="for all (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folders of failed cells")
    parser.add_argument("--list", action="store_true", help="only list the cells")
    return parser.parse_args()


def main():
    options = parse_arguments()
    if options.seed_program != "libtorrent":
        options.seed_program = os.path.abspath(options.seed_program)
        if not options.list and not os.access(options.seed_program, os.X_OK):
            sys.exit(f"interop: {options.seed_program} is not there: build it (ninja -C build)")
    cells = [cell for cell in plan(options) if cell.kind in options.kinds]
    if options.list:
        print("\n".join(map(str, cells)))
        return 0
    enter_namespace(as_root=any(name.startswith("xdp") for name in options.network))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    options.relay = os.path.abspath(options.relay)
    lacking = {name: clients.ALL[name].lacking() for name in options.clients}
    lacking |= {
        name: cable.lacking(name, options.relay, options.seed_program) for name in options.network
    }
    skipped = [
        cell for cell in cells if any(lacking[name] for name in (*cell.clients, cell.network))
    ]
    cells = [cell for cell in cells if cell not in skipped]
    for name in [*options.clients, *options.network]:
        if lacking[name]:
            print(f"skip  {name}: {lacking[name]}")
    runner = Runner(options)
    runner.prepare(cells)
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in concurrent.futures.as_completed(
            [pool.submit(runner.run, cell) for cell in cells]
        ):
            cell, seconds, error, log = future.result()
            passed, failed = passed + (not error), failed + bool(error)
            print(
                f"{'FAIL' if error else 'pass'} {seconds:6.1f}s  {cell}{error and ': ' + error}",
                flush=True,
            )
            if log:
                print(log, flush=True)
    strict = os.environ.get("STRICT") == "1"
    if strict:
        failed, skipped = failed + len(skipped), []
    print(f"{passed} passed, {failed} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
