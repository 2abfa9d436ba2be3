#!/usr/bin/python3
"""Misbehaving peers against a real `penstock seed`, while honest ones fetch. See README.md.

usage: run.py [--penstock FILE] [--never-read N] [--quiet S] [--wave S] [--turns N]
              [--loss PERCENT] [--only WAVE]… [--json FILE]

The last line is "N passed, N failed, N skipped".
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from statistics import median

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "interop"))

import peers  # noqa: E402
import support  # noqa: E402
from support import Deadline, Failure  # noqa: E402

KiB, MiB = 1 << 10, 1 << 20
INSIDE = "PENSTOCK_ADVERSARY_NAMESPACE"
PIECE = 256 * KiB
DATA = 64 * MiB
CACHE = 96 * MiB
TICKS = os.sysconf("SC_CLK_TCK")
STALL = 90  # seconds: two looks of src/peer/session_limits.hh (stall_timeout)


def enter_namespace():
    """Runs this program again in namespaces of its own, with a loopback that has the Internet's MTU:
    socket buffers are as large as they are there.
    """
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "mtu", "1500", "up"], check=True)
        return True
    wrap = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
    wrap += ["--kill-child"]
    if subprocess.run([*wrap, "true"], capture_output=True).returncode == 0:
        os.environ[INSIDE] = "1"
        os.execvp(wrap[0], [*wrap, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    return False


class Reader:
    """A process that says NDJSON: its objects as they come."""

    def __init__(self, name, command, folder):
        self.objects = []
        self.process = support.Process(name, command, folder, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.objects.append(json.loads(line))

    def events(self, kind):
        return [o for o in list(self.objects) if o.get("event") == kind]

    def stop(self):
        code = self.process.stop()
        self._thread.join(5)
        return code, (self.objects[-1] if self.objects else {})


class Seed(Reader):
    def __init__(self, options, folder, torrent, data):
        self.peers_max = max(4096, options.never_read + 2000)
        self.port = support.free_port()
        command = pinned(0) + [
            options.penstock, "seed", torrent, "--data", data, "--state", os.path.join(folder, "state"),
            "--listen", f"127.0.0.1:{self.port}", "--cache", f"{CACHE // MiB}MiB",
            "--max-peers", str(self.peers_max), "--verify", "full", "--json",
        ]
        super().__init__("seed", command, folder)
        self.pid = self.process.pid
        Deadline(30).wait_until(lambda: self.events("listening"), "the seed to listen", self.process)
        Deadline(30).wait_until(
            lambda: self.status().get("torrents_checking") == 0, "the data to be hashed", self.process
        )

    def cpu(self):
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, key="VmHWM"):
        with open(f"/proc/{self.pid}/status") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * KiB
        return 0

    def memory_limit(self, connections):
        """bench/e2e/README.md: cache + 64 KiB a connection + a base that grows with --max-peers."""
        base = 40 * MiB + int(6.2 * KiB) * (self.peers_max - 256)
        return CACHE + 64 * KiB * connections + base

    def status(self):
        found = self.events("status")
        return found[-1] if found else {}


def pinned(core):
    return ["taskset", "-c", str(core)] if os.cpu_count() > 1 else []


def tcp_memory():
    """What the kernel holds for sockets of this machine, bytes."""
    with open("/proc/net/sockstat") as file:
        for line in file:
            if line.startswith("TCP:"):
                words = line.split()
                return int(words[words.index("mem") + 1]) * 4 * KiB
    return 0


def make_torrent(options, folder):
    data = os.path.join(folder, "data.bin")
    with open(data, "wb") as file:
        for i in range(DATA // MiB):
            file.write(os.urandom(MiB))
    torrent = os.path.join(folder, "data.torrent")
    subprocess.run(
        [options.penstock, "create", data, "-o", torrent, "--hybrid", "--piece-size", f"{PIECE // KiB}KiB"],
        check=True, capture_output=True,
    )
    shown = subprocess.run([options.penstock, "show", torrent, "--json"], check=True, capture_output=True)
    file, final = map(json.loads, shown.stdout.splitlines())
    return torrent, bytes.fromhex(final["info_hash_v1"]), bytes.fromhex(file["pieces_root"])


class Test:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        torrent_file, wire_hash, root = make_torrent(options, folder)
        self.torrent = peers.Torrent(wire_hash, DATA, PIECE, root)
        self.kinds = peers.kinds_for(self.torrent)
        self.seed = Seed(options, folder, torrent_file, folder)
        if os.cpu_count() > 1:
            os.sched_setaffinity(0, {1})  # ours: the misbehaving peers leave the seed its processor
        self.crowd = peers.Crowd(("127.0.0.1", self.seed.port), options.patience)
        self.torrent_file = torrent_file
        self.only = set(options.only)
        self.met = set()
        self.windows = []
        self.failures = []
        self.passed = 0
        self.connections = 0
        self.tcp_memory = 0

    def check(self, condition, what):
        if condition:
            self.passed += 1
        else:
            self.failures.append(what)
            print(f"FAIL {what}", flush=True)

    # --- honest peers ---

    def start_honest(self, seconds):
        command = pinned(1) + [
            self.options.penstock, "bench", "leech", "--torrent", self.torrent_file,
            "--peer", f"127.0.0.1:{self.seed.port}", "--connections", "16", "--depth", "40",
            "--source", "127.32.0.0/16", "--warmup", "2s", "--duration", f"{seconds}s", "--json",
        ]
        self.honest = Reader("honest", command, self.folder)
        self.run_until(lambda: self.honest.events("window"), 60, "honest peers to be served")

    def run_until(self, condition, seconds, what):
        end = time.monotonic() + seconds
        processes = [self.seed.process] + ([self.honest.process] if hasattr(self, "honest") else [])

        def done():
            for process in processes:
                if process.poll() is not None and not condition():
                    raise Failure(f"{process.name} ended with {process.status()} while waiting for {what}")
            if condition():
                return True
            if time.monotonic() > end:
                raise Failure(f"deadline passed while waiting for {what}")
            return False

        self.crowd.run(done)

    def window(self, name, seconds):
        """What honest peers get, and what it costs the seed, in the seconds to come."""
        first = len(self.honest.events("second"))
        self.run_until(lambda: len(self.honest.events("second")) > first, 10, "a second")
        first += 1
        cpu, opened = self.seed.cpu(), sum(self.crowd.opened.values())
        self.run_until(lambda: len(self.honest.events("second")) >= first + seconds, 10 + 3 * seconds, name)
        cpu = self.seed.cpu() - cpu
        lines = self.honest.events("second")[first : first + seconds]
        status = self.seed.status()
        self.connections = max(self.connections, status.get("peers", 0))
        self.tcp_memory = max(self.tcp_memory, tcp_memory())
        found = {
            "name": name, "bytes": sum(line["bytes"] for line in lines), "seconds": seconds, "cpu": cpu,
            "rate": sum(line["rate_bytes_per_second"] for line in lines) / seconds,
            "opened": sum(self.crowd.opened.values()) - opened,
        }
        self.windows.append(found)
        return found

    # --- the course of it ---

    def wave(self, name, kinds, at_once=20, per_second=200):
        """Peers of these kinds for a while, then their end; all of it as often as --turns says."""
        if self.only:
            if name not in self.only:
                return
            self.met.add(name)
        kinds = [self.kinds[kind] for kind in kinds]
        for _ in range(self.options.turns):
            self.crowd.begin_wave(kinds, at_once, per_second)
            self.window(name, self.options.wave)
            self.crowd.end_waves()
            if all(kind.reason for kind in kinds):
                self.run_until(lambda: self.crowd.count(kinds) == 0, 20, f"the end of {name}")
            else:
                for peer in [p for p in self.crowd.peers if type(p) in kinds]:
                    peer.end("by us")
            self.window("quiet", self.options.quiet)

    def run(self):
        options = self.options
        # Those who are closed by the clock come first.
        slow = ["SlowReader"] * 10 + ["PatientReader"] * 4 + ["HalfOpen"] * 20
        slow += ["SlowHandshake"] * 20 + ["NoPeerId"] * 20
        self.start_honest(600)
        self.window("quiet", options.quiet)
        begin = time.monotonic()
        for kind in slow:
            self.crowd.open(self.kinds[kind])
        never = "NeverReads" if options.never_read <= 2000 else "NeverReadsSmall"
        # As fast as the others while it is measured; the rest of them at once.
        self.crowd.begin_wave([self.kinds[never]], options.never_read, min(200, options.never_read / options.wave))
        self.window("never read", options.wave)
        self.crowd.end_waves()
        for _ in range(options.never_read - self.crowd.opened[never]):
            self.crowd.open(self.kinds[never])
        stalled_from = time.monotonic()
        self.window("quiet", options.quiet)
        self.wave("handshakes", ["Garbage", "OtherProtocol", "Encrypted", "WrongHash"])
        self.wave("out of range", ["OutOfRange", "TooLong"])
        self.wave("10,000 requests", ["TenThousandRequests", "TenThousandPlain"], per_second=20)
        self.wave("request, cancel", ["RequestAndCancel"], per_second=20)
        self.wave("tiny messages", ["Keepalives", "Fickle", "Unknown"], per_second=20)
        self.wave("hash requests", ["Hashes", "Leaves", "Metadata"], per_second=20)
        self.wave("tiny requests", ["TinyRequests"], at_once=4)
        self.check(self.met == self.only, f"--only: no such waves: {self.only - self.met}")
        ending = [self.kinds[k] for k in (never, "SlowReader")]
        self.run_until(
            lambda: self.crowd.count(ending) == 0,
            STALL + 20 + options.never_read / 500 - (time.monotonic() - stalled_from),
            "the end of those who don't read",
        )
        self.window("quiet", options.quiet)
        patient = [p for p in self.crowd.peers if type(p) is self.kinds["PatientReader"]]
        self.check(len(patient) == 4, "slow but honest readers were closed")
        self.check(all(p.received > 0.6 * p.reads * (time.monotonic() - begin) for p in patient),
                   "slow but honest readers got less than they read")
        peak = self.seed.memory()
        limit = self.seed.memory_limit(self.connections)
        self.judge()
        print(f"memory: peak {peak / MiB:.0f} MiB with {self.connections} connections, limit"
              f" {limit / MiB:.0f} MiB; the kernel's for sockets, both ends: {self.tcp_memory / MiB:.0f} MiB")
        self.check(peak <= limit, f"memory: {peak} bytes, limit {limit}")
        self.figures = {"memory_peak": peak, "memory_limit": limit, "connections": self.connections,
                        "socket_memory": self.tcp_memory, "windows": self.windows}

    def judge(self):
        """Counts of reasons, and what honest peers lost."""
        expected = {}
        for name, opened in self.crowd.opened.items():
            reason = self.kinds[name].reason
            if reason is None:
                continue
            expected[reason] = expected.get(reason, 0) + opened
            self.check(self.crowd.ended[name] == opened, f"{opened - self.crowd.ended[name]} {name} are still here")
        for late in self.crowd.late[:10]:
            print(f"FAIL {late}")
        self.check(not self.crowd.late, f"{len(self.crowd.late)} peers were closed too late")
        self.crowd.close_all()
        _, load = self.honest.stop()
        time.sleep(0.3)
        code, final = self.seed.stop()
        self.check(code in (0, 130) and final.get("final"), f"the seed ended with {code}: {final}")
        closes = final.get("closes", {})
        for reason, count in sorted(expected.items()):
            found = closes.get(reason, 0)
            print(f"{reason:24}{count:8} connections, closed for it: {found}")
            self.check(found == count, f"{reason}: {count} connections, {found} were closed for it")
        others = {k: v for k, v in closes.items()
                  if k not in expected and k not in ("closed_by_peer", "connection_reset", "shutdown")}
        self.check(not others, f"connections ended for other reasons: {others}")
        self.check(not load.get("closes"), f"honest peers were closed: {load.get('closes')}")
        self.judge_losses()

    def judge_losses(self):
        quiet = [w for w in self.windows if w["name"] == "quiet"]
        total_cpu = sum(w["cpu"] for w in quiet)
        print(f"honest peers alone: {sum(w['rate'] for w in quiet) / len(quiet) / MiB:.0f} MiB/s,"
              f" {total_cpu / sum(w['bytes'] for w in quiet) * (1 << 30):.3f} CPU s/GiB of the seed")
        turns = {}
        for i, w in enumerate(self.windows):
            if w["name"] == "quiet":
                continue
            near = [v for v in (self.windows[i - 1], self.windows[i + 1]) if v["name"] == "quiet"]
            rate = sum(v["rate"] for v in near) / len(near)
            per_cpu = sum(v["bytes"] for v in near) / sum(v["cpu"] for v in near)
            w["loss_rate"] = 1 - w["rate"] / rate
            w["loss_cpu"] = 1 - w["bytes"] / w["cpu"] / per_cpu
            turns.setdefault(w["name"], []).append(w)
        for name, windows in turns.items():
            rate, loss_rate, loss = (median(w[key] for w in windows) for key in ("rate", "loss_rate", "loss_cpu"))
            each = ", ".join(f"{100 * w['loss_cpu']:.1f}" for w in windows)
            print(f"{name:18}{rate / MiB:7.0f} MiB/s, loss: {100 * loss_rate:5.1f} % of rate,"
                  f" {100 * loss:5.1f} % of bytes for the seed's CPU time"
                  f" ({each});"
                  f" {sum(w['opened'] for w in windows)} connections")
            self.check(loss < self.options.loss / 100, f"{name}: honest peers lost too much")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--penstock", default=os.path.join(TOP, "build", "penstock"))
    parser.add_argument("--never-read", type=int, default=1000, help="peers that ask and never read")
    parser.add_argument("--quiet", type=int, default=2, help="seconds of honest peers alone, between")
    parser.add_argument("--wave", type=int, default=4, help="seconds of each kind of peers")
    parser.add_argument("--turns", type=int, default=1, help="how often each kind comes; losses are medians of these")
    parser.add_argument("--loss", type=float, default=50, help="percent that honest peers may lose")
    parser.add_argument("--patience", type=float, default=1.0, help="factor on the deadlines")
    parser.add_argument("--only", action="append", default=[], help="of the waves between, this one, by name")
    parser.add_argument("--json", help="where to write the figures")
    options = parser.parse_args()
    if not enter_namespace():
        print("no network namespace is to be had here")
        print("0 passed, 0 failed, 1 skipped")
        return 77
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options.penstock = os.path.abspath(options.penstock)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="penstock-adversary-", dir=memory) as folder:
        test = Test(options, folder)
        try:
            test.run()
        except Failure as failure:
            test.check(False, str(failure))
            print(f"left: {dict(test.crowd.opened)} opened, {dict(test.crowd.ended)} ended")
            print(f"the seed says: {test.seed.status().get('closes')}")
            with open(test.seed.process.log, errors="replace") as log:
                print("".join(log.readlines()[-20:]))
        finally:
            test.crowd.close_all()
            test.seed.process.stop()
            if hasattr(test, "honest"):
                test.honest.process.stop()
        if options.json and hasattr(test, "figures"):
            with open(options.json, "w") as file:
                json.dump(test.figures, file, indent=1)
    print(f"{test.passed} passed, {len(test.failures)} failed, 0 skipped")
    return 1 if test.failures else 0


if __name__ == "__main__":
    sys.exit(main())
