#!/usr/bin/python3
"""The appliance end to end: `penstock serve` with config/seedserver.toml, a thousand torrents, and
opentracker as their HTTP and UDP tracker. See README.md.

usage: run.py [--build DIR] [--torrents N] [--client-mib N] [--keep] [NAME...]
       NAME: some of the tests below (default: all)

--build  where penstock and serve_without_engine were built (default: build)
The last line is "N passed, N failed, N skipped".
"""

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "interop"))

sys.path.append(os.path.join(TOP, "tests", "cli"))

import clients  # noqa: E402
import json_schema  # noqa: E402
import support  # noqa: E402
from support import Deadline, Failure, Process, free_port  # noqa: E402

PIECE = 16384
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))
INSIDE = "PENSTOCK_CONTROL_NAMESPACE"
SEED_ADDRESS = "10.77.0.2"  # in the namespace


def check(condition, what):
    if not condition:
        raise Failure(what)


# --- torrents ---


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    items = sorted((k.encode(), v) for k, v in value.items())
    return b"d" + b"".join(bencode(k) + bencode(v) for k, v in items) + b"e"


class Torrent:
    """One file of its own pseudo-random bytes, its .torrent and its info-hash."""

    def __init__(self, name, size, tiers, piece=PIECE):
        self.name = name
        self.data = hashlib.shake_128(name.encode()).digest(size)
        pieces = b"".join(
            hashlib.sha1(self.data[i : i + piece]).digest() for i in range(0, size, piece)
        )
        info = {"length": size, "name": name, "piece length": piece, "pieces": pieces}
        self.hash = hashlib.sha1(bencode(info)).digest()
        self.file = bencode({"announce": tiers[0][0], "announce-list": tiers, "info": info})


# --- opentracker ---


def tracker_url(kind, port):
    return f"{kind}://{support.address()}:{port}/announce"


class Opentracker:
    """Debian's: it only takes torrents of a whitelist."""

    def __init__(self, folder, port, hashes):
        with open(os.path.join(folder, "whitelist"), "w") as file:
            file.writelines(h.hex() + "\n" for h in hashes)
        self.port = port
        tool = shutil.which("opentracker", path=os.environ["PATH"] + ":/usr/sbin:/usr/bin")
        check(tool, "opentracker is not installed (tools/setup --test)")
        command = [tool, "-i", support.address(), "-p", str(port), "-P", str(port), "-d", folder]
        command += ["-w", "whitelist"]
        if os.environ.get(INSIDE) == "user":
            # It refuses to be root, and there is nobody else here: it gets its own view of that.
            nobody = ["--user", "--map-user=65534", "--map-group=65534"]
            command = ["unshare", *nobody, *command]
        self.process = Process("opentracker", command, folder)
        Deadline(10).wait_until(self.answers, "opentracker to answer", self.process)

    def answers(self):
        try:
            return self.seeds([b"\1" * 20]) == 0
        except OSError:
            return False

    def seeds(self, hashes):
        """How many of these torrents have a complete peer."""
        found = 0
        for at in range(0, len(hashes), 50):
            query = "&".join(
                "info_hash=" + "".join(f"%{b:02x}" for b in h) for h in hashes[at : at + 50]
            )
            url = f"http://{support.address()}:{self.port}/scrape?{query}"
            with HTTP.open(url, timeout=5) as answer:
                body = answer.read()
            found += len(re.findall(rb"8:completei[1-9]\d*e", body))
        return found


# --- the appliance ---


class House:
    """A network namespace for the appliance alone, at the end of a cable whose counters see nothing
    but its traffic with the clients and the tracker.
    """

    address = "10.77.0.3"

    def __init__(self, folder):
        # /proc may be of another process namespace than ours, and names it otherwise.
        script = "read pid rest </proc/self/stat && echo $pid && exec sleep 1000"
        command = ["unshare", "--net", "sh", "-c", script]
        self.process = Process("house", command, folder, stdout=subprocess.PIPE)
        self.proc = f"/proc/{int(self.process.stdout.readline())}"
        self.path = self.proc + "/ns/net"
        self.enter = ["nsenter", f"--net={self.path}"]
        pid = str(self.process.pid)
        here, there = support.address(), self.address
        for command in (
            ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "door", "netns", pid],
            ["ip", "address", "add", here, "peer", there, "dev", "cable"],
            ["ip", "link", "set", "cable", "up"],
            [*self.enter, "ip", "address", "add", there, "peer", here, "dev", "door"],
            [*self.enter, "ip", "link", "set", "lo", "up"],
            [*self.enter, "ip", "link", "set", "door", "up"],
        ):
            subprocess.run(command, check=True)

    @contextlib.contextmanager
    def inside(self):
        """This thread is in there."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as ours, open(self.path) as its:
            check(libc.setns(its.fileno(), 0) == 0, os.strerror(ctypes.get_errno()))
            try:
                yield
            finally:
                check(libc.setns(ours.fileno(), 0) == 0, os.strerror(ctypes.get_errno()))

    def carried(self):
        """Bytes through the door both ways, without Ethernet, IPv4 and TCP headers (with
        timestamps: 66).
        """
        with open(self.proc + "/net/dev") as file:
            line = next(line for line in file if line.strip().startswith("door:"))
        numbers = [int(number) for number in line.split(":")[1].split()]
        return sum(numbers[at] - 66 * numbers[at + 1] for at in (0, 8))


class Appliance:
    """serve with a file of config/ as it is, in a home of its own; only ports are the test's."""

    def __init__(self, program, folder, config="seedserver.toml", house=None):
        # Not the clients' address: most keep one peer an address, and the tracker names them, too.
        self.address = SEED_ADDRESS if os.environ.get(INSIDE) else support.address()
        self.house = house
        if house:
            self.address = house.address
        self.home = os.path.join(folder, "home")
        self.watched = os.path.join(self.home, "penstock", "torrents")
        self.pool = os.path.join(self.home, "penstock", "data")
        self.config = os.path.join(folder, config)
        self.http = free_port()
        self.port = free_port()
        os.makedirs(self.watched, exist_ok=True)
        os.makedirs(self.pool, exist_ok=True)
        shutil.copy(os.path.join(TOP, "config", config), self.config)
        self.override("")
        self.program = program
        self.folder = folder
        self.process = None

    def override(self, more):
        """What conf.d says besides the ports."""
        folder = os.path.join(os.path.dirname(self.config), "conf.d")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "test.toml"), "w") as file:
            file.write(f'[listen]\naddresses = ["{self.address}:{self.port}"]\n')
            file.write(f'[http]\nlisten = "127.0.0.1:{self.http}"\n{more}')

    def start(self, seconds=30, json_to=None, more=None):
        environment = {"HOME": self.home, "XDG_STATE_HOME": "", **(more or {})}
        command = [self.program, "serve", "--config", self.config]
        if json_to is not None:
            command.append("--json")
        if self.house:
            command = self.house.enter + command
        self.process = Process("serve", command, self.folder, json_to, environment=environment)
        Deadline(seconds).wait_until(self.ready, "/readyz", self.process)

    def ready(self):
        return self.get("/readyz")[0] == 200

    def get(self, path, headers=None):
        """Status and body; 0 when nobody answers."""
        url = f"http://127.0.0.1:{self.http}{path}"
        request = urllib.request.Request(url, headers=headers or {})
        try:
            with self.house.inside() if self.house else contextlib.nullcontext():
                with HTTP.open(request, timeout=10) as answer:
                    return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def torrents(self):
        status, body = self.get("/api/v1/torrents")
        check(status == 200, f"/api/v1/torrents: status {status}")
        return {t["name"]: t for t in json.loads(body)["torrents"]}

    def metric(self, name):
        """The sum over the family's labels; name may end in a label part."""
        values = [
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics")[1].splitlines()
            if line.startswith(name + " ") or line.startswith(name + "{")
        ]
        check(values, f"no metric {name}")
        return sum(values)

    def closes(self):
        """Why connections ended so far."""
        lines = self.get("/metrics")[1].splitlines()
        closed = [line for line in lines if line.startswith("penstock_connections_closed_total")]
        return "closed: " + ", ".join(line for line in closed if not line.endswith(" 0"))

    def drop(self, torrent):
        """Written beside and moved in."""
        beside = os.path.join(self.folder, "dropped")
        with open(beside, "wb") as file:
            file.write(torrent.file)
        os.rename(beside, os.path.join(self.watched, torrent.name + ".torrent"))

    def remove(self, torrent):
        os.unlink(os.path.join(self.watched, torrent.name + ".torrent"))

    def log(self):
        with open(self.process.log, errors="replace") as file:
            return file.read()

    def stop(self):
        begin = time.monotonic()
        code = self.process.stop()
        check(code == 0, f"serve ended with {code} when it was told to stop")
        return time.monotonic() - begin


# --- tests: each gets its own folder; what it returns is printed ---


def test_thousand_torrents(options, folder):
    """All are announced over HTTP and UDP; scrapes show them; a stop takes them back."""
    port = free_port()
    appliance = Appliance(options.without_engine, folder)
    count = options.torrents
    torrents = []
    for i in range(count):
        kind = "udp" if i % 2 else "http"
        torrents.append(Torrent(f"set-{i}", 2 * PIECE, [[tracker_url(kind, port)]]))
        appliance.drop(torrents[-1])
    hashes = [t.hash for t in torrents]
    tracker = Opentracker(folder, port, hashes)
    begin = time.monotonic()
    appliance.start()
    ready = time.monotonic() - begin
    check(appliance.metric("penstock_torrents") == count, "not all torrents are in the engine")
    Deadline(60).wait_until(
        lambda: tracker.seeds(hashes) == count, "the tracker to know all", appliance.process
    )
    known = time.monotonic() - begin
    accepted = appliance.metric('penstock_announce_results_total{outcome="accepted"}')
    check(accepted == count, f"{accepted} announces for {count} torrents")
    check(all(t["tracker"]["knows_us"] for t in appliance.torrents().values()), "API disagrees")
    took = appliance.stop()
    left = tracker.seeds(hashes)
    check(left == 0, f"the tracker still knows {left} after the stop")
    tracker.process.stop()
    return (
        f"{count} torrents: ready after {ready:.2f} s, all known to the tracker after"
        f" {known:.2f} s, stopped in {took:.2f} s"
    )


def test_dropped_in_and_removed(options, folder):
    """Within 2 s of the drop it is served and announced; a removed one stops."""
    port = free_port()
    torrent = Torrent("late", 3 * PIECE, [[tracker_url("http", port)]])
    tracker = Opentracker(folder, port, [torrent.hash])
    appliance = Appliance(options.without_engine, folder)
    appliance.start()
    begin = time.monotonic()
    appliance.drop(torrent)
    Deadline(2).wait_until(lambda: "late" in appliance.torrents(), "it to be served")
    served = time.monotonic() - begin
    Deadline(2).wait_until(lambda: tracker.seeds([torrent.hash]) == 1, "the tracker to know it")
    appliance.remove(torrent)
    Deadline(2).wait_until(lambda: not appliance.torrents(), "it to stop")
    Deadline(2).wait_until(lambda: tracker.seeds([torrent.hash]) == 0, "the tracker to forget it")
    appliance.stop()
    tracker.process.stop()
    return f"served {served * 1000:.0f} ms after it was dropped in"


def test_dead_tracker_then_the_next_tier(options, folder):
    """BEP 12: who can't be reached is passed over."""
    port = free_port()
    appliance = Appliance(options.without_engine, folder)
    nobody = f"http://127.0.0.1:{free_port()}/announce"
    torrents = [Torrent(f"t{i}", PIECE, [[nobody], [tracker_url("udp", port)]]) for i in range(50)]
    tracker = Opentracker(folder, port, [t.hash for t in torrents])
    for torrent in torrents:
        appliance.drop(torrent)
    appliance.start()
    hashes = [t.hash for t in torrents]
    Deadline(20).wait_until(lambda: tracker.seeds(hashes) == 50, "the second tier to know all")
    unreachable = appliance.metric('penstock_announce_results_total{outcome="unreachable"}')
    check(unreachable <= 8, f"{unreachable} announces went to a host that is known to be dead")
    appliance.stop()
    tracker.process.stop()
    return f"{unreachable:.0f} tries at the dead tracker for 50 torrents"


def test_a_torrent_can_not_probe_this_host(options, folder):
    """A tracker on this host must have the path /announce."""
    probed = free_port()
    appliance = Appliance(options.without_engine, folder)
    appliance.drop(Torrent("probe", PIECE, [[f"http://localhost:{probed}/admin?delete=all"]]))
    appliance.start()
    Deadline(10).wait_until(
        lambda: appliance.torrents()["probe"]["tracker"]["error"], "the announce to be refused"
    )
    error = appliance.torrents()["probe"]["tracker"]["error"]
    check("/announce" in error, f"it was refused for another reason: {error}")
    appliance.stop()


def test_reload(options, folder):
    """A broken file changes nothing and says why; a good one is applied; restarts are named."""
    appliance = Appliance(options.without_engine, folder)
    appliance.drop(Torrent("a", PIECE, [["http://127.0.0.1:9/announce"]]))
    appliance.start()

    def reload(more, result):
        name = f'penstock_config_reloads_total{{result="{result}"}}'
        before = appliance.metric(name)
        appliance.override(more)
        appliance.process._process.send_signal(signal.SIGHUP)
        Deadline(10).wait_until(lambda: appliance.metric(name) == before + 1, "the reload")

    reload('[limits]\nuplaod = "1MiB/s"\n[log]\nlevel = "debug"\n', "refused")
    check('unknown key "limits.uplaod": did you mean "limits.upload"?' in appliance.log(), "why?")
    check(re.search(r"test\.toml:6:1: unknown key", appliance.log()), "no file and line")
    check("nothing was changed" in appliance.log(), "it doesn't say that nothing changed")
    check(appliance.metric("penstock_config_last_reload_good") == 0, "the metric says it was good")
    check("a" in appliance.torrents(), "the torrent is gone")

    # What parses, but can't be done: the folder isn't there.
    more = f'[[watch]]\ndirectory = "{folder}/none"\npool = "main"\n[limits]\nmax_peers = 7\n'
    reload(more, "refused")
    check(f"{folder}/none: No such file or directory" in appliance.log(), "why?")
    check("a" in appliance.torrents(), "the torrent is gone")

    other = os.path.join(folder, "other")
    os.mkdir(other)
    more = f'[cache]\nsize = "2GiB"\n[[watch]]\ndirectory = "{other}"\npool = "main"\n'
    reload(more, "good")
    check("cache.size changed, which takes a restart" in appliance.log(), "restart not said")
    torrent = Torrent("b", PIECE, [["http://127.0.0.1:9/announce"]])
    with open(os.path.join(other, "b.torrent"), "wb") as file:
        file.write(torrent.file)
    Deadline(2).wait_until(lambda: "b" in appliance.torrents(), "the new folder to be watched")
    reload("", "good")
    Deadline(2).wait_until(lambda: list(appliance.torrents()) == ["a"], "it to be left again")

    # Lower holds at once; there is memory for as many as there were at the start.
    reload("[limits]\nmax_peers = 7\n", "good")
    check("limits.max_peers changed\n" in appliance.log(), "a lower limit wants a restart")
    reload("[limits]\nmax_peers = 100000\n", "good")
    check("limits.max_peers changed, which takes a restart" in appliance.log(), "restart not said")
    appliance.stop()


def test_upload_limit_of_each_torrent(options, folder):
    """Each keeps to it, whatever the others do; a reload takes it away."""
    appliance = Appliance(options.penstock, folder)
    # One shard: each has its share of a limit, and the kernel deals the connections out.
    one = "[shards]\ncount = 1\n"
    appliance.override(one + '[limits]\nupload_per_torrent = "2MiB/s"\n')
    nobody = [[f"http://127.0.0.1:{free_port()}/announce"]]
    torrents = [Torrent(f"limited-{i}", 4 << 20, nobody, 1 << 18) for i in range(2)]
    files = []
    for torrent in torrents:
        with open(os.path.join(appliance.pool, torrent.name), "wb") as file:
            file.write(torrent.data)
        files.append(os.path.join(folder, torrent.name + ".torrent"))
        with open(files[-1], "wb") as file:
            file.write(torrent.file)
        appliance.drop(torrent)
    appliance.start()

    def rates(seconds):
        command = [options.penstock, "bench", "leech", "--peer"]
        command += [f"{appliance.address}:{appliance.port}", "--connections", "3", "--json"]
        command += ["--warmup", "1s", "--duration", f"{seconds}s", "--torrent"]
        runs = [
            subprocess.Popen([*command, file], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for file in files
        ]
        ends = [json.loads(run.communicate(timeout=60)[0].splitlines()[-1]) for run in runs]
        return [end["rate_bytes_per_second"] / (1 << 20) for end in ends]

    limited = rates(5)
    check(all(1.9 < rate < 2.1 for rate in limited), f"2 MiB/s became {limited}")
    limits = [t["upload_limit"] for t in appliance.torrents().values()]
    check(limits == [2 << 20] * 2, f"the API says {limits}")
    appliance.override(one)
    appliance.process._process.send_signal(signal.SIGHUP)
    Deadline(10).wait_until(
        lambda: all(t["upload_limit"] == 0 for t in appliance.torrents().values()), "the reload"
    )
    free = rates(1)
    check(all(rate > 20 for rate in free), f"without a limit: {free} MiB/s")
    appliance.stop()
    return f"2 MiB/s became {limited[0]:.2f} and {limited[1]:.2f}, none {free[0]:.0f}"


def test_own_tcp(options, folder):
    """[network]: a device of its own, of which Linux has the other end."""
    ours, linux = "10.78.0.2", "10.78.0.1"
    check(os.environ.get(INSIDE), "no network namespace can be made here")
    for command in (
        "tuntap add dev control0 mode tap",
        f"address add {linux}/24 dev control0",
        "link set control0 up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    appliance = Appliance(options.penstock, folder)
    appliance.address = ours
    network = (
        "[shards]\ncount = 1\n"
        f'[network]\nbackend = "tap"\ninterface = "control0"\naddresses = ["{ours}/24"]\n'
    )
    appliance.override(network)
    torrent = Torrent("own-tcp", 4 << 20, [[f"http://127.0.0.1:{free_port()}/announce"]], 1 << 18)
    with open(os.path.join(appliance.pool, torrent.name), "wb") as file:
        file.write(torrent.data)
    appliance.drop(torrent)
    appliance.start()
    check("trackers tell clients an address of the kernel's" in appliance.log(), "it warns of it")
    command = [options.penstock, "bench", "leech", "--torrent"]
    command += [os.path.join(appliance.watched, torrent.name + ".torrent")]
    command += ["--peer", f"{ours}:{appliance.port}", "--connections", "3", "--verify", "--json"]
    command += ["--warmup", "200ms", "--duration", "1s"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    final = json.loads(run.stdout.splitlines()[-1])
    check(run.returncode == 0 and final["pieces_bad"] == 0, run.stdout + run.stderr)
    check(final["pieces_good"] > 10, f"{final['pieces_good']} pieces")
    # Which TCP it is stays as it was until the next start.
    appliance.override("[shards]\ncount = 1\n")
    appliance.process._process.send_signal(signal.SIGHUP)
    Deadline(10).wait_until(lambda: "network.backend" in appliance.log(), "the reload")
    appliance.stop()
    subprocess.run(["ip", "link", "delete", "control0"], check=True)
    return f"{final['pieces_good']} pieces"


def test_service_manager(options, folder):
    """What systemd is told, and the state directory that it gives."""
    for name in os.path.join(folder, "notify"), "\0penstock-" + os.path.basename(folder):
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(name)
        told.settimeout(10)
        appliance = Appliance(options.without_engine, folder)
        state = os.path.join(folder, "state")
        appliance.start(
            more={"NOTIFY_SOCKET": name.replace("\0", "@"), "STATE_DIRECTORY": state + ":/other"}
        )

        def hear():
            return dict(line.split("=", 1) for line in told.recv(4096).decode().splitlines())

        check(hear() == {"READY": "1", "STATUS": "serving"}, "not ready")
        check(os.path.isdir(state), "the state directory wasn't made")
        for more, words in ("", "serving"), ("nonsense", "refused"):
            appliance.override(more)
            appliance.process._process.send_signal(signal.SIGHUP)
            reloading = hear()
            check(reloading["RELOADING"] == "1", f"told {reloading}")
            now = time.monotonic_ns() // 1000
            check(0 <= now - int(reloading["MONOTONIC_USEC"]) < 10_000_000, "told a wrong time")
            again = hear()
            check(again["READY"] == "1" and words in again["STATUS"], f"told {again}")
        appliance.stop()
        check(hear() == {"STOPPING": "1"}, "not stopping")
        told.close()


def test_http(options, folder):
    """Metrics that promtool is content with, health, and who may ask."""
    appliance = Appliance(options.without_engine, folder)
    appliance.start()
    status, text = appliance.get("/metrics")
    check(status == 200, f"/metrics: {status}")
    promtool = subprocess.run(
        ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30
    )
    check(promtool.returncode == 0 and not promtool.stderr, promtool.stderr.decode())
    check(appliance.get("/healthz") == (200, "ok\n"), "/healthz")
    check(json.loads(appliance.get("/version")[1])["name"] == "penstock", "/version")
    check(appliance.get("/nothing")[0] == 404, "404")
    check(appliance.get("/metrics", {"Host": "evil.example"})[0] == 403, "a foreign Host header")
    check(appliance.get("/metrics", {"Host": "localhost:1"})[0] == 200, "localhost")
    appliance.stop()
    return f"{text.count('# TYPE')} families"


def test_broken_torrent_file(options, folder):
    """Logged once, with why; the others are served."""
    appliance = Appliance(options.without_engine, folder)
    appliance.drop(Torrent("good", PIECE, [["http://127.0.0.1:9/announce"]]))
    with open(os.path.join(appliance.watched, "bad.torrent"), "w") as file:
        file.write("d8:announce")
    appliance.start()
    Deadline(10).wait_until(
        lambda: appliance.metric('penstock_torrent_files{state="broken"}') == 1, "it to be counted"
    )
    check(list(appliance.torrents()) == ["good"], "the good one isn't served")
    check(appliance.log().count("bad.torrent") == 1, "not logged once")
    appliance.stop()


def test_broken_configuration(options, folder):
    """serve and check: file, line, what was expected; exit status 2; nothing is started."""
    appliance = Appliance(options.without_engine, folder)
    appliance.override('[cache]\nsize = "lots"\n')
    command = [options.without_engine, "serve", "--config", appliance.config]
    ended = subprocess.run(command, capture_output=True, timeout=30, env={"HOME": appliance.home})
    check(ended.returncode == 2, f"exit status {ended.returncode}")
    words = ended.stderr.decode()
    check(re.search(r"conf\.d/test\.toml:6:8: cache\.size: \"lots\" is not a size", words), words)
    check(not os.path.exists(os.path.join(appliance.home, ".local")), "it made a state directory")


def test_laptop_configuration(options, folder):
    """config/laptop.toml runs as it is, too, and makes the directories it names."""
    appliance = Appliance(options.without_engine, folder, config="laptop.toml")
    shutil.rmtree(os.path.join(appliance.home, "penstock"))
    appliance.start()
    check(os.path.isdir(appliance.watched) and os.path.isdir(appliance.pool), "not made")
    appliance.stop()


def test_json(options, folder):
    """serve --json and the API keep to their schemas."""
    appliance = Appliance(options.without_engine, folder)
    appliance.drop(Torrent("a", PIECE, [["http://127.0.0.1:9/announce"]]))
    with open(os.path.join(folder, "json"), "w+") as lines:
        appliance.start(json_to=lines)
        Deadline(5).wait_until(appliance.torrents, "the torrent to be served")
        json_schema.check_value("api.torrents", json.loads(appliance.get("/api/v1/torrents")[1]))
        appliance.process._process.send_signal(signal.SIGHUP)
        reloads = 'penstock_config_reloads_total{result="good"}'
        Deadline(5).wait_until(lambda: appliance.metric(reloads) == 1, "the reload")
        appliance.stop()
        lines.seek(0)
        events = [o.get("event") for o in json_schema.check_lines("serve", lines.read())]
    check(events == ["serving", "reload", None], f"events: {events}")


class Found:
    """Stands for the tracker of the interop clients: they get the torrent's own instead."""

    def __init__(self, url):
        self.url = url

    def close(self):
        pass


class Wanted:
    """A dataset as the interop clients take it."""

    version = clients.V1

    def __init__(self, torrent, folder):
        self.root = torrent.name
        self.torrent = os.path.join(folder, torrent.name + ".torrent")
        with open(self.torrent, "wb") as file:
            file.write(torrent.file)


def client_of(kind, torrent, url, folder):
    """A stock client that knows the .torrent and nobody."""
    lacking = kind.lacking()
    check(not lacking, lacking)
    os.makedirs(folder)
    # Who listens there is nobody; clients that must be told a peer are told this one.
    nobody = f"{support.address()}:{free_port()}"
    clients.tracker.Tracker = lambda *_: Found(url)
    return kind(Wanted(torrent, folder), nobody, os.path.join(folder, "client"))


def test_clients_find_it(options, folder):
    """Five stock clients each fetch one of a thousand torrents, knowing only its .torrent; metrics,
    clients and the interface agree about the bytes.
    """
    kinds = [
        clients.Aria2,
        clients.Transmission,
        clients.Qbittorrent,
        clients.Rtorrent,
        clients.Libtorrent,
    ]
    port = free_port()
    house = House(folder) if os.environ.get(INSIDE) else None
    appliance = Appliance(options.penstock, folder, house=house)
    size = options.client_mib << 20
    wanted = []
    for i, kind in enumerate(kinds):
        url = tracker_url("udp" if i % 2 else "http", port)
        wanted.append(Torrent(f"for {kind.name}", size, [[url]], 1 << 18))
        with open(os.path.join(appliance.pool, wanted[-1].name), "wb") as file:
            file.write(wanted[-1].data)
    others = [
        Torrent(f"other-{i}", 2 * PIECE, [[tracker_url("http", port)]])
        for i in range(options.torrents - len(kinds))
    ]
    for torrent in wanted + others:
        appliance.drop(torrent)
    hashes = [t.hash for t in wanted + others]
    tracker = Opentracker(folder, port, hashes)
    appliance.start(60)
    Deadline(60).wait_until(
        lambda: tracker.seeds(hashes) == len(hashes), "the tracker to know all", appliance.process
    )
    sent = "penstock_sent_bytes_total", "penstock_received_bytes_total"
    sent_before = sum(map(appliance.metric, sent))
    before = house.carried() if house else 0
    begin = time.monotonic()
    for kind, torrent in zip(kinds, wanted):
        url = tracker_url("http", port)
        client = client_of(kind, torrent, url, os.path.join(folder, kind.name))
        try:
            client.start()
            try:
                Deadline(120).wait_until(
                    client.complete, f"{kind.name} to fetch", client.process
                )
            except Failure as failure:
                raise Failure(f"{failure}; {appliance.closes()}") from failure
            client.stop()
            with open(client.result, "rb") as file:
                check(file.read() == torrent.data, f"{kind.name} got other bytes")
        finally:
            client.close()
    took = time.monotonic() - begin
    Deadline(10).wait_until(
        lambda: appliance.metric("penstock_connections") == 0, "the connections to end"
    )
    metric = appliance.metric("penstock_uploaded_bytes_total")
    moved = sum(map(appliance.metric, sent)) - sent_before
    carried = house.carried() - before if house else moved
    total = size * len(kinds)
    check(abs(metric / total - 1) < 1e-3, f"clients have {total}, metrics say {metric}")
    per_torrent = sum(t["uploaded"] for t in appliance.torrents().values())
    check(per_torrent == metric, f"the torrents' bytes are {per_torrent}, all are {metric}")
    check(
        abs(carried / moved - 1) < 1e-3, f"the interface carried {carried}, metrics say {moved}"
    )
    check(appliance.metric("penstock_pieces_lost") == 0, "pieces are lost")
    appliance.stop()
    tracker.process.stop()
    if house:
        house.process.stop()
    return (
        f"{', '.join(k.name for k in kinds)}: {options.client_mib} MiB each in {took:.0f} s;"
        f" metrics/clients {metric / total:.5f}, metrics/interface {moved / carried:.5f}"
    )


def enter_namespace():
    """Runs this program again in a network namespace of its own, where there is one to be had:
    ports can't collide, and Transmission gets an address that it accepts.
    """
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for address in support.NAMESPACE_ADDRESS, SEED_ADDRESS:
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        return
    for user in (["--user", "--map-root-user"], []):
        wrap = ["unshare", *user, "--net", "--pid", "--fork", "--kill-child"]
        if subprocess.run([*wrap, "true"], capture_output=True).returncode == 0:
            os.environ[INSIDE] = "user" if user else "root"
            os.execvp(wrap[0], [*wrap, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.path.join(TOP, "build"))
    parser.add_argument("--torrents", type=int, default=1000)
    parser.add_argument("--client-mib", type=int, default=64, help="what each client fetches")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a failed test")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    enter_namespace()
    build = os.path.abspath(options.build)
    options.without_engine = os.path.join(build, "tests", "control", "serve_without_engine")
    options.penstock = os.path.join(build, "penstock")
    known = {k[5:]: v for k, v in globals().items() if k.startswith("test_")}
    unknown = set(options.tests) - set(known)
    if unknown:
        parser.error(f"unknown test {', '.join(unknown)}; there are: {' '.join(known)}")
    passed = failed = 0
    for name in options.tests or known:
        folder = tempfile.mkdtemp(prefix=f"penstock-control-{name}-")
        # opentracker gives up root where it has it, and must still get in.
        os.chmod(folder, 0o755)
        begin = time.monotonic()
        try:
            says = known[name](options, folder)
            passed += 1
            took = time.monotonic() - begin
            print(f"ok   {name} ({took:.1f} s)" + (f": {says}" if says else ""), flush=True)
            shutil.rmtree(folder)
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name}: {error}", flush=True)
            if not isinstance(error, Failure):
                traceback.print_exc()
            log = os.path.join(folder, "serve.log")
            if os.path.exists(log):
                with open(log, errors="replace") as file:
                    print("".join(file.readlines()[-25:]), flush=True)
            if options.keep:
                print(f"     kept: {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
