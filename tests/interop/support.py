"""Processes, deadlines and addresses for the interop tests."""

import ctypes
import os
import signal
import socket
import subprocess
import time

# Besides 127.0.0.1, in the run's own network namespace: Transmission refuses to connect to loopback
# addresses.
NAMESPACE_ADDRESS = "10.77.0.1"
NAMESPACE_ADDRESS6 = "fd77::1"


class Failure(Exception):
    """What a cell of the matrix failed with, in one line."""


class Crash(Failure):
    """A process was ended by a signal that nobody sent."""

    def __init__(self, process, what):
        super().__init__(f"{process.name} ended with {process.status()} while waiting for {what}")
        self.name = process.name


class Deadline:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def wait_until(self, condition, what, process=None):
        """Polls until `condition()` is truthy, and returns that. Fails when time is up or
        `process` has ended.
        """
        while True:
            ended = process is not None and process.poll() is not None
            value = condition()
            if value:
                return value
            if ended and process.poll() < 0:
                raise Crash(process, what)
            if ended:
                raise Failure(
                    f"{process.name} ended with {process.status()} while waiting for {what}:\n"
                    f"{process.log_tail(10)}"
                )
            if not self.left():
                raise Failure(f"deadline passed while waiting for {what}")
            time.sleep(0.02)


def address():
    """The address that seeds and trackers listen on: one that all clients accept, if this machine
    has it.
    """
    with socket.socket() as probe:
        try:
            probe.bind((NAMESPACE_ADDRESS, 0))
            return NAMESPACE_ADDRESS
        except OSError:
            return "127.0.0.1"


def join(host, port):
    """As clients want a peer to be named: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(peer):
    """Of what join made: (host, port)."""
    host, port = peer.rsplit(":", 1)
    return host.strip("[]"), int(port)


def free_port():
    """A port that is free now for TCP and UDP. In the run's own network namespace nobody else
    takes it meanwhile.
    """
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("0.0.0.0", 0))
            port = tcp.getsockname()[1]
            if port in _handed_out:
                continue
            try:
                udp.bind(("0.0.0.0", port))
            except OSError:
                continue
            _handed_out.add(port)
            return port


_handed_out = set()
_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prepare(enter):
    _die_with_parent()
    if enter:
        enter()


class Process:
    """A program in a process group of its own, its output in a file; ended with everything it
    started.
    """

    def __init__(
        self,
        name,
        command,
        folder,
        stdout=None,
        stdin=subprocess.DEVNULL,
        environment=None,
        enter=None,
    ):
        """enter: called in the child before it executes the program."""
        self.name = name
        self.log = os.path.join(folder, f"{name}.log")
        self.command = command
        with open(self.log, "ab") as log:
            log.write(("$ " + " ".join(command) + "\n").encode())
            log.flush()
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=stdin,
                stdout=log if stdout is None else stdout,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=lambda: _prepare(enter),
            )
        self.pid = self._process.pid
        self.stdout = self._process.stdout

    def poll(self):
        return self._process.poll()

    def status(self):
        code = self._process.poll()
        return (
            f"signal {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"status {code}"
        )

    def stop(self, how=signal.SIGTERM, seconds=15.0):
        """Asks it to end, waits, and then ends its whole group. Returns the exit status, None if
        it had to be killed.
        """
        code = self._process.poll()
        if code is None:
            self._process.send_signal(how)
            try:
                code = self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self._process.wait()
        return code

    def log_tail(self, lines=25):
        with open(self.log, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 16384))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def allocated_bytes(folder):
    """What the files under `folder` occupy: how far a client that writes sparse files has come."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def compare_trees(source, copy, empty_files=True):
    """Raises Failure unless `copy` holds the same files with the same bytes as `source`.

    Pad files don't count. Without `empty_files`, those of the source may be missing.
    """
    expected, found = _tree(source), _tree(copy)
    if not empty_files:
        expected = {
            name: path for name, path in expected.items() if name in found or os.path.getsize(path)
        }
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise Failure(f"{len(missing)} files are missing, the first: {missing[0]}")
    extra = sorted(found.keys() - expected.keys())
    if extra:
        raise Failure(f"{len(extra)} files more than there should be, the first: {extra[0]}")
    for name in sorted(expected):
        _compare_files(name, expected[name], found[name])


def _tree(root):
    if os.path.isfile(root):
        return {".": root}
    files = {}
    for parent, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if folder != ".pad"]
        for name in names:
            path = os.path.join(parent, name)
            files[os.path.relpath(path, root)] = path
    return files


def _compare_files(name, expected, found):
    if os.path.getsize(expected) != os.path.getsize(found):
        raise Failure(
            f"{name}: {os.path.getsize(found)} bytes instead of {os.path.getsize(expected)}"
        )
    with open(expected, "rb") as a, open(found, "rb") as b:
        offset = 0
        while True:
            left, right = a.read(1 << 20), b.read(1 << 20)
            if left != right:
                at = next(i for i in range(len(left)) if i >= len(right) or left[i] != right[i])
                raise Failure(f"{name}: bytes differ from offset {offset + at}")
            if not left:
                return
            offset += len(left)
