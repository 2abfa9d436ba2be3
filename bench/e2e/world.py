"""Where the end-to-end benchmarks run: an own network namespace, pinned cores, data in memory, processes that are counted.

Everything runs in user, network, mount and PID namespaces of its own (`enter()`): no root is needed, no port collides, and
nothing outlives the run. Loopback there carries 10.77.0.0/16 besides 127.0.0.0/8, because Transmission refuses the latter.
"""

import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "interop"))

import support  # noqa: E402  (of tests/interop: processes, deadlines)

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
SERVER_ADDRESS = "10.77.0.1"
SOURCE_PREFIX = "10.77.64.0/18"
TICKS = os.sysconf("SC_CLK_TCK")
_MARK = "PENSTOCK_BENCH_INSIDE"

Failure = support.Failure


def say(text):
    print(text, file=sys.stderr, flush=True)


def enter(congestion):
    """Starts this program again inside namespaces of its own; there: brings loopback up. Returns inside only."""
    if os.environ.get(_MARK) != "1":
        command = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc",
                   "--kill-child", sys.executable, *sys.argv]
        os.execvpe("unshare", command, {**os.environ, _MARK: "1"})
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", "10.77.0.1/16", "dev", "lo")
    # What sockets begin with; `preload()` gives listeners the one that is asked for, where a sysctl may not.
    with open("/proc/sys/net/ipv4/tcp_congestion_control", "w") as file:
        file.write("reno")
    preload(congestion)


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


def preload(congestion):
    """A library that sets TCP_CONGESTION on whatever a server listens on: the same for all of them."""
    library = os.path.join(scratch("preload"), "congestion.so")
    run("c++", "-shared", "-fPIC", "-O2", "-o", library, os.path.join(HERE, "congestion_preload.cc"), "-ldl")
    preload.environment = {"LD_PRELOAD": library, "BENCH_CONGESTION": congestion}


def server_environment():
    return dict(preload.environment)


def free_port():
    return support.free_port()


# --- data ---


class Data:
    """A single file in memory and its torrent (v1, 1 MiB pieces)."""

    def __init__(self, folder, size, piece_size=MiB, name="data.bin"):
        self.folder, self.size = folder, size
        self.path = os.path.join(folder, name)
        self.torrent = os.path.join(folder, f"{name}.torrent")
        os.makedirs(folder, exist_ok=True)
        if not os.path.exists(self.torrent) or os.path.getsize(self.path) != size:
            fill(self.path, size)
            create_torrent(self.path, self.torrent, piece_size)


def fill(path, size, seed=1):
    generator = random.Random(seed)
    with open(path, "wb") as file:
        left = size
        while left:
            block = generator.randbytes(min(left, 4 * MiB))
            file.write(block)
            left -= len(block)


def create_torrent(path, torrent, piece_size):
    import libtorrent as lt

    storage = lt.file_storage()
    lt.add_files(storage, path)
    made = lt.create_torrent(storage, piece_size, lt.create_torrent.v1_only)
    # rtorrent and aria2 want a tracker; nobody listens there.
    made.add_tracker("http://127.0.0.1:1/announce")
    lt.set_piece_hashes(made, os.path.dirname(path))
    with open(torrent + ".new", "wb") as file:
        file.write(lt.bencode(made.generate()))
    os.rename(torrent + ".new", torrent)


# --- what a process costs ---


def descendants(pid):
    """The process and all below it."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    found += [int(child) for child in file.read().split()]
        except FileNotFoundError:
            pass
    return found


def cpu_seconds(pid):
    """User and system time of the process, its threads and what it started, seconds."""
    total = 0
    for each in descendants(pid):
        try:
            with open(f"/proc/{each}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except FileNotFoundError:
            pass
    return total / TICKS


def memory_peak(pid):
    """VmHWM of the process and of what it started, bytes."""
    return sum(_status(each, "VmHWM") for each in descendants(pid))


def memory_now(pid):
    """Resident bytes that are not of files (a mapped dataset isn't the program's)."""
    return sum(_status(each, "RssAnon") for each in descendants(pid))


def _status(pid, key):
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * KiB
    except FileNotFoundError:
        pass
    return 0


def read_bytes(pid):
    """Bytes that the process had fetched from a block device."""
    with open(f"/proc/{pid}/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("read_bytes:"))


def cores_busy():
    """Seconds that the processors were not idle since boot, softirqs included: the whole machine's."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = fields
    return (user + nice + system + irq + softirq) / TICKS


def seconds_stolen():
    """Seconds since boot that the processors had work and the hypervisor ran something else: the whole machine's."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[8]) / TICKS


def congestion_of(port):
    """The congestion controls of the connections that are established at a server's port, by `ss`."""
    text = run("ss", "-Htin", "state", "established", f"sport = :{port}")
    known = {"bbr", "cubic", "reno", "dctcp", "vegas", "westwood", "htcp"}
    return sorted({word for word in text.split() if word in known})


def machine():
    """What the figures depend on."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "?")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release,
            "load_average_before": os.getloadavg()[0],
            "tcp_rmem": _sysctl("net/ipv4/tcp_rmem"), "tcp_wmem": _sysctl("net/ipv4/tcp_wmem"),
            "mtu": int(open("/sys/class/net/lo/mtu").read()) if os.path.exists("/sys/class/net/lo/mtu") else 65536}


def _sysctl(name):
    with open(f"/proc/sys/{name}") as file:
        return file.read().split()


# --- the load ---


class Load:
    """One run of `penstock bench leech`, pinned; calls back at the borders of its window."""

    def __init__(self, program, core, arguments, on_window=None, on_end=None, deadline=120):
        command = [*pinned(core), program, "bench", "leech", "--json", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   preexec_fn=_die_with_parent)
        self.seconds, self.final = [], {}
        begin = time.monotonic()
        for line in process.stdout:
            entry = json.loads(line)
            event = entry.get("event")
            if event == "window" and on_window:
                on_window()
            elif event == "window_end" and on_end:
                on_end()
            elif event == "second":
                self.seconds.append(entry)
            if entry.get("final"):
                self.final = entry
            if time.monotonic() - begin > deadline:
                process.kill()
        self.status = process.wait()
        if self.status not in (0, 3) or not self.final:
            raise Failure(f"the load ended with {self.status}: {process.stderr.read().strip()}")


def pinned(core):
    return [] if core is None else ["taskset", "-c", str(core)]


_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def scratch(name):
    """An empty folder that goes away with the run. Not named by the process id, which in two runs' namespaces is the same."""
    if not scratch.top:
        scratch.top = tempfile.mkdtemp(prefix="penstock-bench-")
    folder = os.path.join(scratch.top, name)
    os.makedirs(folder)
    return folder


scratch.top = ""


def remove_scratch():
    if scratch.top:
        shutil.rmtree(scratch.top, ignore_errors=True)
