"""The cable between a seed with a TCP of its own (`--backend tap`) and the clients' kernel: a TAP
interface, or two of them with a bad link between (tests/relay).

The kernel has 10.98.N.1 at its end, the seed is 10.98.N.2 and reaches all else by way of the kernel.
"""

import itertools
import json
import os
import subprocess

import support

# What `run.py --network` knows: options of the seed, and of the link, if it is bad.
KINDS = {
    "kernel": None,
    "tap": ([], ""),
    "tap-plain": (["--no-offload"], ""),
    "tap-threads": ([], ""),  # without io_uring
    "tap-loss": ([], "loss=1%,delay=2ms"),
    "tap-bad": ([], "loss=1%,delay=2ms,jitter=1ms,reorder=1%,duplicate=1%,corrupt=0.1%"),
}
_numbers = itertools.count(1)


def lacking(kind, relay):
    """What is missing on this machine for it, or an empty string."""
    if kind == "kernel":
        return ""
    if support.address() != support.NAMESPACE_ADDRESS:
        return "no network namespace here (unshare)"
    made = _ip("tuntap", "add", "dev", "probe0", "mode", "tap")
    if made.returncode:
        return f"no TAP interface can be made here: {made.stderr.decode().strip()}"
    _ip("tuntap", "delete", "dev", "probe0", "mode", "tap")
    if KINDS[kind][1] and not os.access(relay, os.X_OK):
        return f"{relay} is not there: build it (ninja tests/relay/relay)"
    return ""


def _ip(*words):
    return subprocess.run(["ip", *words], capture_output=True)


def _do(*words):
    done = _ip(*words)
    if done.returncode:
        raise support.Failure(f"ip {' '.join(words)}: {done.stderr.decode().strip()}")


class Cable:
    def __init__(self, kind, relay, folder):
        number = next(_numbers)
        self.options, link = KINDS[kind]
        self.interface = f"seed{number}"
        self.kernel, self.seed = f"10.98.{number}.1", f"10.98.{number}.2"
        self.relay = None
        self.figures = {}
        _do("tuntap", "add", "dev", self.interface, "mode", "tap")
        end = self.interface
        if link:
            _do("link", "set", end, "arp", "off", "addrgenmode", "none", "up")
            self.relay = support.Process(
                "relay",
                [relay, f"packet:{end}", f"tap:link{number}"]
                + ["--both", link, "--seed", str(number), "--seconds", "600"],
                folder,
                stdout=subprocess.PIPE,
            )
            if not self.relay.stdout.readline():
                raise support.Failure("the relay did not start")
            end = f"link{number}"
        _do("address", "add", f"{self.kernel}/24", "dev", end)
        _do("link", "set", end, "up")

    def arguments(self):
        """What `penstock seed` needs to be at the other end."""
        return [
            *("--backend", "tap", "--interface", self.interface),
            *("--address", f"{self.seed}/24", "--gateway", self.kernel),
            *self.options,
        ]

    def close(self):
        """Raises Failure if the link turned out good."""
        if self.relay:
            self.relay.stop()
            text = self.relay.stdout.read()
            self.figures = json.loads(text) if text.strip() else {}
        _ip("tuntap", "delete", "dev", self.interface, "mode", "tap")
        if self.relay and not self.figures.get("ab", {}).get("lost"):
            raise support.Failure(f"the link lost nothing: {self.figures}")
