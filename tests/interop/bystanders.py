"""A network namespace beside the run's own, and what else goes on in it: whoever shares an address
with a seed must not notice the seed.
"""

import ctypes
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

import support

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HTTP_PORT = 8000
# Not through a proxy that the environment names.
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# `python3 -m http.server` asks for the name of its address first, and waits where nobody knows it.
_SERVER = """
import functools, http.server, socket, socketserver, sys
pages = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[3])
class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
Server((sys.argv[1], int(sys.argv[2])), pages).serve_forever()
"""


def _check(result):
    if result != 0:
        raise support.Failure(f"network namespace: {os.strerror(ctypes.get_errno())}")


class Namespace:
    """Kept by a descriptor: gone when that is closed and nobody is in it."""

    def __init__(self):
        self.fd = None
        thread = threading.Thread(target=self._make)  # the namespace is that thread's alone
        thread.start()
        thread.join()
        if self.fd is None:
            raise support.Failure("no second network namespace here")

    def _make(self):
        if _libc.unshare(CLONE_NEWNET) == 0:
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def enter(self):
        """For a child, before it executes its program."""
        _check(_libc.setns(self.fd, CLONE_NEWNET))

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, preexec_fn=self.enter)
        if done.returncode:
            raise support.Failure(f"{' '.join(command)}: {done.stderr.decode().strip()}")

    def adopt(self, interface):
        """Moves an interface of the run's own there."""
        command = ["ip", "link", "set", interface, "netns", f"/proc/self/fd/{self.fd}"]
        done = subprocess.run(command, capture_output=True, pass_fds=[self.fd])
        if done.returncode:
            raise support.Failure(f"{' '.join(command)}: {done.stderr.decode().strip()}")

    def close(self):
        os.close(self.fd)


class Bystanders:
    """An HTTP server of the kernel's TCP on the seed's address, fetched from, and the address
    pinged, all the time. `close` raises Failure if one of them ever failed, or none was made.
    """

    PATIENCE = 2.0  # seconds, for one answer; beside clients at full speed

    def __init__(self, namespace, address, folder):
        self.address, self.failures = address, []
        self.fetches = self.pings = 0
        self.page = os.urandom(20000)
        pages = os.path.join(folder, "pages")
        os.makedirs(pages)
        with open(os.path.join(pages, "page"), "wb") as file:
            file.write(self.page)
        self.server = support.Process(
            "http",
            [sys.executable, "-c", _SERVER, address, str(HTTP_PORT), pages],
            folder,
            enter=namespace.enter,
        )
        try:
            support.Deadline(10).wait_until(self._fetch, "the HTTP server", self.server)
        except support.Failure:
            self.server.stop()
            raise
        self.fetches = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def _fetch(self):
        try:
            url = f"http://{support.join(self.address, HTTP_PORT)}/page"
            with _HTTP.open(url, timeout=self.PATIENCE) as answer:
                good = answer.read() == self.page
        except OSError:
            good = False
        self.fetches += good
        return good

    def _ping(self, number):
        """ICMP echo (RFC 792, RFC 4443), checksum and all: there may be no ping here."""
        six = ":" in self.address
        words = [0x8000 if six else 0x0800, 0, os.getpid() & 0xFFFF, number & 0xFFFF]
        if not six:  # for ICMPv6 the kernel does it (RFC 3542 §3.1)
            words[1] = 0xFFFF - (sum(words) % 0xFFFF)
        how = (
            (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            if six
            else (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        wanted = struct.pack("!2H", *words[2:])
        with socket.socket(*how) as raw:
            raw.settimeout(self.PATIENCE)
            raw.sendto(struct.pack("!4H", *words), (self.address, 0))
            end = time.monotonic() + self.PATIENCE
            while time.monotonic() < end:
                try:
                    packet, sender = raw.recvfrom(2048)
                except OSError:
                    return False
                # A raw socket of IPv6 leaves out the header.
                header = 0 if six else (packet[0] & 15) * 4
                answer = packet[header] == (129 if six else 0)
                ours = sender[0] == self.address
                if ours and answer and packet[header + 4 : header + 8] == wanted:
                    self.pings += 1
                    return True
        return False

    def _go(self):
        number = 0
        while not self._end.wait(0.1):
            number += 1
            if not self._ping(number):
                self.failures.append("ping")
            if not self._fetch():
                self.failures.append("HTTP")

    def close(self):
        self._end.set()
        self._thread.join()
        self.server.stop()
        if self.failures or not self.fetches or not self.pings:
            raise support.Failure(
                f"beside the seed: {self.fetches} fetches, {self.pings} pings, "
                f"and without an answer: {self.failures[:5]}"
            )
