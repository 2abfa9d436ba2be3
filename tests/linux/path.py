"""The path of these tests: two network namespaces, a bridge in each, the relay between the bridges.

    own_bulk ── own0 ┐                             ┌ own0 ── own_bulk
                     br0 ── path ══ relay ══ path ── br0
    kernel ──────────┘                             └────────── kernel

So own TCP and the kernel's send over the very same link, and what `path` carries is what a wire
would: single segments, cut before.
"""

import concurrent.futures
import itertools
import json
import os
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "relay"))

import rig  # noqa: E402

KERNEL = {"a": "10.77.0.1", "b": "10.77.0.2"}
OWN = {"a": "10.77.0.11", "b": "10.77.0.12"}
PORT = "5001"
KERNEL_BULK = [sys.executable, os.path.join(HERE, "kernel_bulk.py")]
_numbers = itertools.count(1)
_making = threading.Lock()
_realtime = concurrent.futures.ThreadPoolExecutor(1)


def begin():
    """Once, first of all. Returns why these tests can't be, or ""."""
    why_not = rig.enter_namespace()
    # Linux's TCP runs where frames come in, whatever else the machine does; the relay and own TCP
    # wait for a processor. Under `chrt -f 1` they don't: they are children of a thread that stays
    # what it is, while this one and all else become ordinary.
    _realtime.submit(lambda: None).result()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return why_not


def realtime(make, *words, **options):
    return _realtime.submit(make, *words, **options).result()


class Path:
    def __init__(self, relay, options):
        with _making:
            number = next(_numbers)
            self.hosts = {side: rig.Host(KERNEL[side]) for side in "ab"}
            taps = {side: f"path{number}{side}" for side in "ab"}
            self.relay = realtime(
                rig.Relay, relay, [f"tap:{taps[side]}" for side in "ab"], options
            )
            for side, host in self.hosts.items():
                self._furnish(host, taps[side])
        self.capturing = None

    def _furnish(self, host, tap):
        pid = str(host.holder.pid)
        subprocess.run(["ip", "link", "set", tap, "netns", pid, "name", "path"], check=True)
        host.run(
            "sh",
            "-ec",
            # Nothing but TCP and ARP is to draw from the relay's dice.
            "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6;"
            "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6;"
            "ip link add br0 type bridge forward_delay 0 mcast_snooping 0;"
            "ip tuntap add dev own0 mode tap;"
            "ip link set own0 master br0 up; ip link set path master br0 up;"
            f"ip address add {host.address}/24 dev br0; ip link set br0 up",
        )

    def capture(self, side, file):
        """Headers of what passes `path` there, until close()."""
        self.capturing = self.hosts[side].start(
            *("dumpcap", "-q", "-i", "path", "-s", "118", "-B", "32", "-w", file),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in self.capturing.stderr:
            if line.startswith("File:"):
                return
        raise RuntimeError("dumpcap did not start")

    def close(self):
        """What the relay said."""
        if self.capturing:
            self.capturing.terminate()
            self.capturing.communicate()
        self.relay.close()
        for host in self.hosts.values():
            host.close()
        return self.relay.figures


def analyse(file):
    """What capture.py says."""
    command = [sys.executable, os.path.join(HERE, "capture.py"), file, PORT]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


class Program:
    """One of the two bulk programs, at one side."""

    def __init__(self, path, side, words):
        start = path.hosts[side].start
        options = {"stdout": subprocess.PIPE, "text": True}
        own = words[0] != sys.executable
        self.process = realtime(start, *words, **options) if own else start(*words, **options)

    def ready(self):
        if not self.process.stdout.readline():
            raise RuntimeError("a program did not start")
        return self

    def result(self, seconds):
        try:
            text, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return json.loads(text.splitlines()[-1])

    def stop(self, seconds=20):
        """Tells a sender to end; what it says."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.result(seconds)


def receiver(path, kind, side, seconds, own_bulk, flows=1):
    """Ready to receive. kind: "own" or "kernel"."""
    if kind == "own":
        own = ["--interface", "own0", "--address", OWN[side], "--port", PORT]
        words = [own_bulk, "receive", *own, "--seconds", str(seconds), "--flows", str(flows)]
    else:
        words = [*KERNEL_BULK, "receive", KERNEL[side], PORT, str(seconds), str(flows)]
    return Program(path, side, words).ready()


def sender(path, kind, side, address, seconds, own_bulk, flows=1):
    """Sending to `address`. kind: "own" or the name of a congestion control."""
    if kind == "own":
        own = ["--interface", "own0", "--address", OWN[side], "--port", PORT, "--peer", address]
        words = [own_bulk, "send", *own, "--seconds", str(seconds), "--flows", str(flows)]
        return Program(path, side, words).ready()
    return Program(path, side, [*KERNEL_BULK, "send", address, PORT, str(seconds), kind])
