"""System calls of a running process and its threads, counted by strace."""

import re
import signal
import subprocess
import tempfile
import time


class Counter:
    """Counts between start() and stop(). The traced program is slowed, the figures a byte hold within some per cent:
    see README.md."""

    def __init__(self, pid):
        self.pid = pid
        self.calls, self.total, self.share = {}, 0, 1.0

    def start(self):
        self.output = tempfile.NamedTemporaryFile("r", suffix=".strace")
        self.process = subprocess.Popen(["strace", "-c", "-f", "-p", str(self.pid), *self._children(), "-o",
                                         self.output.name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # It says so when it has attached; what is sent meanwhile is in the bytes but not in the calls.
        begin = time.monotonic()
        self.process.stderr.readline()
        self.attached = time.monotonic()
        self.lost = self.attached - begin

    def stop(self):
        length = time.monotonic() - self.attached
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        self.share = length / (length + self.lost)
        # % time, seconds, usecs/call, calls, [errors], syscall
        for line in self.output.read().splitlines():
            found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if found and found[2] != "total":
                self.calls[found[2]] = int(found[1])
        self.total = sum(self.calls.values())
        self.output.close()

    def _children(self):
        import world

        return [word for pid in world.descendants(self.pid)[1:] for word in ("-p", str(pid))]
