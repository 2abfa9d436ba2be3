#!/usr/bin/python3
"""Real files that go wrong under `penstock seed`: see README.md.

usage: run.py [--build DIR] [--keep] [CASE...]      CASE: files/uring, hang/epoll, …

Each case is a process of its own, and all run at once: they mostly wait.
The last line is "N passed, N failed, N skipped".
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "interop"))

import clients  # noqa: E402
import fuse_disk  # noqa: E402
import stalled  # noqa: E402
import support  # noqa: E402
from support import Deadline, Failure, Process, free_port  # noqa: E402

INSIDE = "PENSTOCK_FAULT_NAMESPACE"
DRIVERS = {"uring": "", "epoll": "uring"}  # what PENSTOCK_DISABLE says
PIECE = 1 << 16
MIB = 1 << 20
SKIPPED = 77


class Skip(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failure(what)


def some_bytes(name, size):
    return random.Random(name).randbytes(size)


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Case:
    def __init__(self, options, folder, driver):
        self.program = options.penstock
        self.folder = folder
        self.environment = {"PENSTOCK_DISABLE": DRIVERS[driver], "HOME": folder}
        self.data = os.path.join(folder, "data")
        self.seed = None
        os.makedirs(self.data)

    def make(self, name, files, form="--v1"):
        """Files of a torrent in self.data, and its .torrent beside them; the latter's path."""
        for file, data in files.items():
            write(os.path.join(self.data, name, file), data)
        torrent = os.path.join(self.data, name + ".torrent")
        command = [self.program, "create", os.path.join(self.data, name), "-o", torrent, form]
        subprocess.run(
            [*command, "--piece-size", f"{PIECE // 1024}KiB"], check=True, capture_output=True
        )
        return torrent

    def start(self, torrents, **options):
        self.seed = Seed(self, torrents, **options)


class Seed:
    """penstock seed, with a cache far smaller than the data. Root has no way around permissions."""

    def __init__(self, case, torrents, io="direct", wire=None):
        port = free_port()
        self.address = f"{wire.seed if wire else '127.0.0.1'}:{port}"
        self.output = os.path.join(case.folder, "seed.json")
        listen = f":{port}" if wire else self.address
        command = [case.program, "seed", *torrents, "--listen", listen, "--json"]
        command += ["--state", case.folder, "--cache", "4MiB", "--io", io]
        command += ["--max-peers", "128" if wire else "64", *(wire.arguments() if wire else [])]
        if os.geteuid() == 0:
            command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
        with open(self.output, "wb") as out:
            self.process = Process("seed", command, case.folder, out, environment=case.environment)
        self.wait("to listen", lambda: self.last("listening"))

    def last(self, event):
        lines = read(self.output).splitlines()
        for line in reversed(lines):
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue  # being written
            if value.get("event") == event:
                return value
        return None

    def lost(self):
        status = self.last("status")
        return status["pieces_lost"] if status else 0

    def memory(self):
        """Resident, bytes."""
        status = read(f"/proc/{self.process.pid}/status").decode()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def log(self):
        return read(self.process.log).decode(errors="replace")

    def lost_pieces(self, torrent, file):
        """Pieces that the log says are lost because of this file, one by one."""
        line = rf"{torrent}: piece (\d+) is lost: .*{torrent}/{file}"
        return {int(piece) for piece in re.findall(line, self.log())}

    def wait(self, what, condition, seconds=20):
        Deadline(seconds).wait_until(condition, f"the seed {what}", self.process)

    def wait_log(self, pattern, seconds=20):
        self.wait(f'to say "{pattern}"', lambda: re.search(pattern, self.log()), seconds)


class Leech:
    """penstock bench leech --verify, at a rate that leaves the machine to the others."""

    def __init__(self, case, torrent, seconds, *more, rate="6MiB/s", connections=4):
        self.name = os.path.basename(torrent)[: -len(".torrent")]
        folder = tempfile.mkdtemp(prefix=f"leech-{self.name}-", dir=case.folder)
        self.output = os.path.join(folder, "leech.json")
        command = [case.program, "bench", "leech", "--torrent", torrent, "--json", "--verify"]
        command += ["--peer", case.seed.address, "--connections", str(connections)]
        command += ["--warmup", "0s", "--duration", f"{seconds}s", *more]
        if rate:
            command += ["--rate", rate]
        with open(self.output, "wb") as out:
            self.process = Process("leech", command, folder, out, environment={"HOME": folder})
        self.deadline = Deadline(seconds + 20)

    def seconds(self):
        """Bytes of each second so far."""
        out = []
        for line in read(self.output).splitlines():
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue
            if value.get("event") == "second":
                out.append(value["bytes"])
        return out

    def result(self):
        """What it says at its end. No wrong byte may have come."""
        self.deadline.wait_until(lambda: self.process.poll() is not None, f"leech of {self.name}")
        lines = read(self.output).splitlines()
        check(lines, f"leech of {self.name} said nothing: {self.process.log_tail()}")
        final = json.loads(lines[-1])
        check(final.get("final") and "pieces_bad" in final, f"leech of {self.name}: {final}")
        check(final["pieces_bad"] == 0, f"{self.name}: {final['pieces_bad']} pieces were wrong")
        return final

    def expect_undisturbed(self):
        final = self.result()
        seconds = self.seconds()
        check(final["rejects"] == 0, f"{self.name}: {final['rejects']} requests were refused")
        check(not final["closes"], f"{self.name}: connections were closed: {final['closes']}")
        check(min(seconds) > sum(seconds) / len(seconds) / 2, f"{self.name} halted: {seconds}")
        return final


def flip(path, offset):
    """One bit, without a trace in the file's times: the disk did it."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))
        file.flush()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.fsync(file.fileno())


def put_in_place(path, data, mode=0o644):
    write(path + ".new", data)
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)


# --- cases: what they return is printed ---


def case_files(case, _):
    """Truncated, replaced, unreadable, rotten: at once, each under its own torrent."""
    names = ["truncated", "replaced", "forbidden", "removed", "rotten", "fine"]
    whole = {}
    torrents = {}
    for name in names:
        whole[name] = some_bytes(name, 6 * MIB)
        files = {"a": whole[name], "b": some_bytes(name + "b", MIB + 77)}
        torrents[name] = case.make(name, files)
    case.start(torrents.values())
    seed = case.seed

    def path(name):
        return os.path.join(case.data, name, "a")

    leeches = [Leech(case, torrents[name], 9) for name in names]
    seed.wait("to serve all", lambda: all(sum(leech.seconds()) for leech in leeches))
    begin = time.monotonic()
    os.truncate(path("truncated"), 2 * MIB)
    put_in_place(path("replaced"), some_bytes("other", 6 * MIB))
    put_in_place(path("forbidden"), whole["forbidden"], 0)
    os.unlink(path("removed"))
    rotten = {5, 17, 50}
    for piece in rotten:
        flip(path("rotten"), piece * PIECE + 1234)
    # The last piece reaches into file b.
    pieces = set(range(6 * MIB // PIECE))
    seed.wait_log("forbidden: forbidden/a can't be opened: permission denied; its pieces 0 to 95")
    seed.wait_log("removed: removed/a is not there; its pieces 0 to 95 are not offered")
    seed.wait_log("truncated: truncated/a has changed")
    seed.wait_log("truncated: truncated/a is shorter than the torrent says")
    seed.wait_log("replaced: replaced/a has changed")
    beyond = set(range(2 * MIB // PIECE, 6 * MIB // PIECE))
    seed.wait("to miss", lambda: seed.lost_pieces("truncated", "a") == beyond)
    seed.wait("to find rot", lambda: seed.lost_pieces("rotten", "a") == rotten)
    seed.wait("to see it replaced", lambda: len(seed.lost_pieces("replaced", "a")) > 50)
    check(seed.lost_pieces("replaced", "a") <= pieces, "other pieces than the replaced are lost")
    took = time.monotonic() - begin
    for leech in leeches[:-1]:
        leech.result()
    leeches[-1].expect_undisturbed()
    check(not re.search(r"fine: .*(lost|not)", seed.log()), "something is wrong with fine")

    # Repaired: noticed without a restart. Rot is repaired in place, by whoever rewrites the file.
    for name in names[:-1]:
        put_in_place(path(name), whole[name])
    begin = time.monotonic()
    seed.wait("to have everything again", lambda: seed.lost() == 0, 25)
    noticed = time.monotonic() - begin
    again = [Leech(case, torrents[name], 2, "--pattern", "sequential") for name in names]
    for leech in again:
        final = leech.expect_undisturbed()
        check(final["pieces_good"] > 50, f"{leech.name}: {final}")
    check(seed.process.stop() == 0, f"seed ended with {seed.process.status()}")
    return f"named within {took:.1f} s, back {noticed:.1f} s after the repair"


def case_lazy(case, _):
    """Three bad pieces in a lazy seed: a stock client gets the rest, and them once repaired."""
    whole = some_bytes("lazy", 8 * MIB + 4321)
    torrent = case.make("lazy", {"a": whole, "b": b"small"}, "--hybrid")
    fine = case.make("fine", {"a": some_bytes("fine", 6 * MIB)})
    path = os.path.join(case.data, "lazy", "a")
    bad = {0, 60, 128}  # the first, one in the middle, the last
    broken = bytearray(whole)
    for piece in bad:
        broken[piece * PIECE + 99] ^= 1
    write(path, broken)
    case.start([torrent, fine], io="buffered")
    seed = case.seed
    dataset = argparse.Namespace(torrent=torrent, root="lazy", version=clients.HYBRID)
    lacking = clients.Libtorrent.lacking()
    if lacking:
        raise Skip(lacking)
    client = clients.Libtorrent(dataset, seed.address, os.path.join(case.folder, "client"))
    leech = Leech(case, fine, 6)
    client.start()
    try:
        seed.wait("to name all three", lambda: seed.lost_pieces("lazy", "a") == bad)
        copy = os.path.join(client.result, "a")
        missing = len(bad) * PIECE
        Deadline(10).wait_until(
            lambda: support.allocated_bytes(client.result) >= len(whole) - missing, "the rest"
        )
        check(not client.complete(), "the client says that it has all")
        put_in_place(path, whole)
        begin = time.monotonic()
        seed.wait("to have everything again", lambda: seed.lost() == 0)
        # It left a seed that has nothing for it, and would come back after a minute.
        client.stop()
        client.start()
        Deadline(25).wait_until(client.complete, "the client to complete", client.process)
        took = time.monotonic() - begin
        check(read(copy) == whole, "the client has other bytes")
    finally:
        client.close()
    leech.expect_undisturbed()
    check(seed.lost_pieces("lazy", "a") == bad, "other pieces were lost, too")
    check(seed.process.stop() == 0, f"seed ended with {seed.process.status()}")
    return f"complete {took:.1f} s after the repair"


def case_hang(case, _):
    """A disk that hangs, then goes on; then one with a bad sector: other torrents go on."""
    if fuse_disk.lacking():
        raise Skip(fuse_disk.lacking())
    if not os.environ.get(INSIDE):
        raise Skip("no namespace to mount a FUSE disk in")
    stuck = some_bytes("stuck", 12 * MIB)
    files = {f"{i}": some_bytes(f"many{i}", 100_000) for i in range(80)}
    free = {f"{i}": some_bytes(f"free{i}", MIB) for i in range(12)}
    on_disk = {}
    for name, content in ("stuck", {"a": stuck}), ("many", files):
        on_disk[name + ".torrent"] = read(case.make(name, content))
        on_disk.update({f"{name}/{file}": data for file, data in content.items()})
    torrent = case.make("free", free)
    mount = os.path.join(case.folder, "disk")
    os.makedirs(mount)
    disk = fuse_disk.FuseDisk(mount, on_disk)
    try:
        return run_hang(case, disk, mount, torrent, stuck)
    finally:
        disk.close()


def run_hang(case, disk, mount, free, stuck):
    kept = {}
    for name in "stuck", "many":
        kept[name] = os.path.join(case.data, name + ".torrent")
    case.start([os.path.join(mount, "stuck.torrent"), os.path.join(mount, "many.torrent"), free])
    seed = case.seed
    reads = Leech(case, kept["stuck"], 12, rate=None, connections=16)
    seed.wait("to serve from the disk", lambda: len(reads.seconds()) >= 1)
    disk.hang(fuse_disk.READ, fuse_disk.LOOKUP, fuse_disk.GETATTR, fuse_disk.OPEN)
    opens = Leech(case, kept["many"], 10, rate=None, connections=16)
    time.sleep(1.5)
    held = len(disk.held)
    check(held >= 8, f"the disk holds only {held} requests")
    # Files that nobody has opened yet, on another disk.
    others = Leech(case, free, 4, "--pattern", "sequential", connections=6)
    final = others.expect_undisturbed()
    check(final["pieces_good"] >= 12 * MIB // PIECE, f"only {final['pieces_good']} pieces")
    latency = final["latency_p99_seconds"]
    check(reads.seconds()[-2:] == [0, 0], "the disk doesn't hang")
    before = len(reads.seconds())
    disk.go_on()
    Deadline(5).wait_until(lambda: sum(reads.seconds()[before:]), "the disk's torrent to go on")
    reads.result()
    check(opens.result()["pieces_good"] > 0, "the files that could not be opened never were")
    check(seed.lost() == 0, "hanging lost pieces")

    # Pieces 32 and 33 can't be read any more.
    disk.bad["stuck/a"] = (33 * PIECE - 4096, 33 * PIECE + 4096)
    # Twenty times over: both are asked for, and read, however long the cache kept them.
    again = Leech(case, kept["stuck"], 4, rate="60MiB/s")
    others = Leech(case, free, 4)
    seed.wait_log("stuck: stuck/a can't be read: the device reports an error")
    seed.wait("to name both", lambda: seed.lost_pieces("stuck", "a") == {32, 33})
    again.result()
    others.expect_undisturbed()
    disk.bad.clear()
    seed.wait("to have them again", lambda: seed.lost() == 0, 15)
    check(len(stuck) // PIECE > 33, "no such pieces")
    check(seed.process.stop() == 0, f"seed ended with {seed.process.status()}")
    return f"{held} requests hung, meanwhile p99 of the others was {latency * 1e3:.1f} ms"


def case_stalled(case, driver):
    """Own TCP: a hundred peers take nothing of what they asked for. Others aren't slowed, memory
    stays bounded; then they take it, or learn that it is lost.
    """
    number = 1 + list(DRIVERS).index(driver)
    why = stalled.lacking(number) if os.environ.get(INSIDE) else "no network namespace"
    if why:
        raise Skip(f"no TAP interface: {why}")
    torrents = {}
    for name in "kept", "lost", "free":
        data = some_bytes(f"stalled {name}", 12 * MIB)
        torrents[name] = stalled.Torrent(case.make(name, {"a": data}), case.program, PIECE, data)
    wire = stalled.Wire(number)
    try:
        return run_stalled(case, wire, torrents)
    finally:
        wire.close()


def run_stalled(case, wire, torrents):
    case.start([torrent.path for torrent in torrents.values()], wire=wire)
    seed = case.seed
    rate = 12

    def others():
        final = Leech(case, torrents["free"].path, 6, rate=f"{rate}MiB/s").expect_undisturbed()
        return final["pieces_good"]

    alone = others()
    address, port = seed.address.split(":")
    vanishing, lost = 40, 20
    peers = []
    for i in range(100):
        source = wire.others[i] if i < vanishing else f"{wire.network}.1"
        torrent = torrents["lost" if i >= 100 - lost else "kept"]
        peers.append(stalled.Peer(source, (address, int(port)), torrent, i * 31))
    for peer in peers:
        peer.ask()
    wire.show(False, wire.others[:vanishing])
    seed.wait("to take memory back", lambda: seed.last("status").get("sheds", 0) > 0)
    memory = seed.memory()
    beside = others()
    grown = max(seed.memory() - memory, 0)
    check(beside >= 0.9 * alone, f"others got {beside} pieces beside them, {alone} without")
    check(grown < 8 * MIB, f"it took {grown >> 20} MiB more")
    status = seed.last("status")
    check(status["peers"] >= 100, f"peers are gone: {status['closes']}")
    check(sum(len(peer.wanted) for peer in peers) > 3000, "they were sent too much")

    # Those that come back get their bytes, from the disk again; or the stream's end.
    os.truncate(os.path.join(case.data, "lost", "a"), 0)
    wire.show(True, wire.others[:vanishing])
    took = stalled.resume(peers, 45)
    seed.wait("to miss it", lambda: seed.lost() > 0)
    for i, peer in enumerate(peers):
        check(peer.over(), f"peer {i} waits for {len(peer.wanted)} blocks")
        if i < 100 - lost:
            check(not peer.ended, f"peer {i} lost its connection: {peer.ended}")
    ended = [peer.ended for peer in peers if peer.wanted]
    check(len(ended) >= lost / 2, f"only {len(ended)} streams of lost content ended")
    check(set(ended) <= {"Connection reset by peer", "closed"}, f"ends: {set(ended)}")
    seed.wait("to read again", lambda: seed.last("status")["needs"] > 0)
    status = seed.last("status")
    check(seed.process.stop() == 0, f"seed ended with {seed.process.status()}")
    return (
        f"others got {beside / alone:.0%} beside 100 stalled peers; {status['sheds']} times memory "
        f"was taken back, {status['needs']} parts were read again, {grown >> 10} KiB more; all had "
        f"theirs after {took:.1f} s, {len(ended)} streams ended for lost content"
    )


CASES = {"files": case_files, "lazy": case_lazy, "hang": case_hang, "stalled": case_stalled}


# --- the runner ---


def enter_namespace():
    """Runs this program again in network, process and mount namespaces of its own, where there are
    any to be had.
    """
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    for user in (["--user", "--map-root-user"], []):
        wrap = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if subprocess.run([*wrap, "true"], capture_output=True).returncode == 0:
            os.environ[INSIDE] = "1"
            os.execvp(wrap[0], [*wrap, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])


def run_case(options, name):
    """In a process of its own: 0, 1 or SKIPPED, and says why."""
    what, driver = name.split("/")
    # On the build's file system: a tmpfs has no O_DIRECT.
    folder = tempfile.mkdtemp(prefix=f"fault-{what}-{driver}-", dir=options.build)
    os.chmod(folder, 0o755)
    begin = time.monotonic()
    case = Case(options, folder, driver)
    status = 0
    try:
        says = CASES[what](case, driver)
        print(f"ok   {name} ({time.monotonic() - begin:.1f} s): {says}", flush=True)
    except Skip as why:
        print(f"skip {name}: {why}", flush=True)
        status = SKIPPED
    except Exception as error:  # pylint: disable=broad-except
        print(f"FAIL {name}: {error}", flush=True)
        if not isinstance(error, Failure):
            traceback.print_exc(file=sys.stdout)
        if case.seed:
            print("\n".join(case.seed.log().splitlines()[-15:]), flush=True)
        status = 1
    if case.seed:
        case.seed.process.stop(signal.SIGKILL)
    if not (options.keep and status == 1):
        shutil.rmtree(folder, ignore_errors=True)
    return status


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(TOP, "build"))
    parser.add_argument("--keep", action="store_true", help="keep the folder of a failed case")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.penstock = os.path.join(options.build, "penstock")
    if options.alone:
        return run_case(options, options.alone)
    enter_namespace()
    known = [f"{what}/{driver}" for what in CASES for driver in DRIVERS]
    # A property of the machine, not something that a package could bring: no skipped test.
    no_fuse = fuse_disk.lacking()
    possible = [name for name in known if not (no_fuse and name.startswith("hang/"))]
    if no_fuse and not options.cases:
        print(f"left out: hang (a disk that hangs is made with FUSE; {no_fuse})")
    names = options.cases or possible
    for name in names:
        if name not in known:
            parser.error(f"unknown case {name}; there are: {' '.join(known)}")
    arguments = ["--build", options.build, *(["--keep"] if options.keep else [])]
    running = [
        subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), *arguments, "--alone", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name in names
    ]
    statuses = []
    for process in running:
        print(process.communicate()[0].decode(errors="replace"), end="", flush=True)
        statuses.append(process.returncode)
    skipped = statuses.count(SKIPPED)
    passed = statuses.count(0)
    print(f"{passed} passed, {len(statuses) - passed - skipped} failed, {skipped} skipped")
    return 0 if passed + skipped == len(statuses) else 1


if __name__ == "__main__":
    sys.exit(main())
