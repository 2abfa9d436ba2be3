"""The cable between a seed with a TCP of its own (`--backend tap`, `dpdk`, `xdp`) and the clients'
kernel: a TAP interface, two of them with a bad link between (tests/relay), or a veth pair.

The kernel has 10.98.N.1 at its end, the seed is 10.98.N.2 and reaches all else by way of the kernel.
With `xdp` the seed's end lies in a network of its own, whose kernel is 10.98.N.2, too. Names that
end with 6 have fd98:N::1 and fd98:N::2 instead.
"""

import array
import fcntl
import glob
import itertools
import json
import os
import socket
import struct
import subprocess
import tempfile

import bystanders
import support

# What `run.py --network` knows: options of the seed, and of the link, if it is bad.
KINDS = {
    "kernel": None,
    "tap": ([], ""),
    "tap-plain": (["--no-offload"], ""),
    "tap-threads": ([], ""),  # without io_uring
    "tap-loss": ([], "loss=1%,delay=2ms"),
    "tap-bad": ([], "loss=1%,delay=2ms,jitter=1ms,reorder=1%,duplicate=1%,corrupt=0.1%"),
    "dpdk-tap": ([], ""),  # net_tap
    "dpdk-tap-loss": ([], "loss=1%,delay=2ms"),
    "dpdk-packet": ([], ""),  # net_af_packet on a veth pair
    "xdp": ([], ""),
    "xdp-threads": ([], ""),  # without io_uring
    "xdp-loss": ([], "loss=1%,delay=2ms"),
}
KINDS |= {f"{kind}6": how for kind, how in KINDS.items()}
_numbers = itertools.count(1)


# <linux/ethtool.h>: what a kernel may leave to a device. A packet socket sees frames before any
# device does.
SIOCETHTOOL = 0x8946
SUMS, TSO, GSO = 0x17, 0x1F, 0x24


def lacking(kind, relay, program):
    """What is missing on this machine for it, or an empty string."""
    if kind == "kernel" or (kind == "kernel6" and support.address() == support.NAMESPACE_ADDRESS):
        return ""
    if kind.startswith("dpdk") and (why := _lacks_dpdk(program)):
        return why
    if kind.startswith("xdp") and not is_machines_root():
        return "loading an XDP program needs root of the machine, not of a user namespace"
    if support.address() != support.NAMESPACE_ADDRESS:
        return "no network namespace here (unshare)"
    made = _ip("tuntap", "add", "dev", "probe0", "mode", "tap")
    if made.returncode:
        return f"no TAP interface can be made here: {made.stderr.decode().strip()}"
    _ip("tuntap", "delete", "dev", "probe0", "mode", "tap")
    if KINDS[kind][1] and not os.access(relay, os.X_OK):
        return f"{relay} is not there: build it (ninja tests/relay/relay)"
    return ""


def is_machines_root():
    with open("/proc/self/uid_map", encoding="ascii") as file:
        everybody = file.read().split() == ["0", "0", "4294967295"]
    return everybody and os.geteuid() == 0


def _lacks_dpdk(program):
    """Whether it was built without: it says so before it opens anything."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [program, "seed", folder, "--state", folder, "--backend", "dpdk", "--device", "none0"]
            + ["--address", "10.0.0.2/24"],
            capture_output=True,
            text=True,
        )
    return "penstock is built without DPDK" if "without DPDK" in done.stderr else ""


def free_hugepages():
    total = 0
    for path in glob.glob("/sys/kernel/mm/hugepages/*/free_hugepages"):
        with open(path, encoding="ascii") as file:
            total += int(file.read())
    return total


def _sum_and_cut(interface):
    """Makes the kernel do on this interface what it would have left to a device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in (SUMS, TSO, GSO):
            value = array.array("I", [command, 0])
            request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
            fcntl.ioctl(any_socket, SIOCETHTOOL, request)


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
        net, self.prefix = (f"fd98:{number:x}::", 64) if kind[-1] == "6" else (f"10.98.{number}.", 24)
        self.kernel, self.seed = f"{net}1", f"{net}2"
        # Nobody else has them: without asking whether (RFC 4862 §5.4), which takes seconds.
        self.nodad = ["nodad"] if kind[-1] == "6" else []
        kind = kind.removesuffix("6")
        self.relay = None
        self.figures = {}
        self.hugepages = free_hugepages()
        self.there = None  # the network that the seed is in, if not the clients'
        self.bystanders = None
        self.backend = ["--backend", "tap", "--interface", self.interface]
        self.veth = kind == "dpdk-packet"
        end = self.interface
        if kind.startswith("dpdk-tap"):
            self.backend = ["--backend", "dpdk", "--device", f"net_tap0,iface={end}"]
            _do("tuntap", "add", "dev", end, "mode", "tap", "multi_queue")
        elif self.veth:
            self.backend = ["--backend", "dpdk", "--device", f"net_af_packet0,iface={end}"]
            _do("link", "add", end, "type", "veth", "peer", "name", f"link{number}")
            _do("link", "set", end, "arp", "off", "addrgenmode", "none", "up")
            end = f"link{number}"
            _sum_and_cut(end)
        elif kind.startswith("xdp"):
            self.backend = ["--backend", "xdp", "--interface", end]
            end = self._share(f"wire{number}")
        else:
            _do("tuntap", "add", "dev", end, "mode", "tap")
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
        _do("address", "add", f"{self.kernel}/{self.prefix}", "dev", end, *self.nodad)
        _do("link", "set", end, "up")
        if self.there and not link:
            self.bystanders = bystanders.Bystanders(self.there, self.seed, folder)

    def _share(self, end):
        """A veth pair into a network of its own, whose kernel has the seed's address."""
        self.there = bystanders.Namespace()
        _do("link", "add", end, "type", "veth", "peer", "name", self.interface)
        _sum_and_cut(end)
        self.there.adopt(self.interface)
        for words in (
            f"address add {self.seed}/{self.prefix} dev {self.interface} {' '.join(self.nodad)}",
            "link set lo up",
            f"link set {self.interface} up",
            f"route add default via {self.kernel}",
        ):
            self.there.run("ip", *words.split())
        self.seed_end, self.interface = self.interface, end  # what is deleted at the end
        return end

    def enter(self):
        """In the seed's process, before it becomes that."""
        if self.there:
            self.there.enter()

    def arguments(self):
        """What `penstock seed` needs to be at the other end."""
        if self.there:  # it takes the address and the gateway from the interface
            return [*self.backend, *self.options]
        return [
            *self.backend,
            *("--address", f"{self.seed}/{self.prefix}", "--gateway", self.kernel),
            *self.options,
        ]

    def left_by(self, port, deadline):
        """What is still there of a seed that was killed: empty, when the interface works and is as
        it was before, and hugepages are free again.
        """
        left = []
        device = self.interface if not self.there else self.seed_end
        for command in (
            ["ip", "-details", "link", "show", "dev", device],
            ["tc", "qdisc", "show", "dev", device],
            ["tc", "filter", "show", "dev", device],
        ):
            text = self._inside(command)
            left += [word for word in ("xdp", "ingress", "clsact", "multiq") if word in text]
        if (gone := self.hugepages - free_hugepages()) > 0:  # cells that run meanwhile take some, too
            left.append(f"{gone} hugepages")
        # On an address of the kernel's its own TCP has the port again, and says that nobody is there.
        if self.there:
            try:
                deadline.wait_until(lambda: self._refused(port), "the kernel to have its port again")
            except support.Failure as failure:
                left.append(str(failure))
        return left

    def _inside(self, command):
        """Its output, in the network that the seed was in."""
        enter = self.there.enter if self.there else None
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=enter)
        if done.returncode:
            raise support.Failure(f"{' '.join(command)}: {done.stderr.strip()}")
        # An interface that nothing is attached to is shown with the means to attach something.
        return " ".join(line for line in done.stdout.splitlines() if "xdp-features" not in line)

    def _refused(self, port):
        try:
            socket.create_connection((self.seed, port), 1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
        return False

    def close(self):
        """Raises Failure if the link turned out good, or if somebody else noticed the seed."""
        try:
            if self.bystanders:
                self.bystanders.close()
        finally:
            self._close()

    def _close(self):
        if self.there:
            self.there.close()
        if self.relay:
            self.relay.stop()
            text = self.relay.stdout.read()
            self.figures = json.loads(text) if text.strip() else {}
        _ip("link", "delete", "dev", self.interface)
        if self.relay and not self.figures.get("ab", {}).get("lost"):
            raise support.Failure(f"the link lost nothing: {self.figures}")
