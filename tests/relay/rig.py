"""Two Linux hosts with a relay between them, for tests: network namespaces, joined by the relay's
two TAP interfaces.

    enter_namespace()                      # once, first of all: runs the program again inside
    with TwoHosts("build/tests/relay/relay", ["--both", "delay=10ms,loss=1%"]) as hosts:
        hosts.a.run("ping", "-c1", hosts.b.address)
    hosts.figures                          # what the relay said at its end
"""

import json
import os
import shutil
import subprocess
import sys

INSIDE = "PENSTOCK_RELAY_NAMESPACE"


def enter_namespace():
    """Runs this program again in user, network, mount and PID namespaces of its own. Returns why
    that can't be, or "" inside.
    """
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return ""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return "unshare (util-linux) or ip (iproute2) is not installed"
    for user in (["--user", "--map-root-user"], []):
        wrap = ["unshare", *user, "--net", "--mount", "--pid", "--mount-proc", "--fork"]
        wrap.append("--kill-child")
        probe = [*wrap, "ip", "tuntap", "add", "dev", "probe0", "mode", "tap"]
        if subprocess.run(probe, capture_output=True).returncode == 0:
            os.environ[INSIDE] = "1"
            program = [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
            os.execvp(wrap[0], [*wrap, *program])
    return "no TAP interface can be made in a namespace here (/dev/net/tun, unshare)"


class Host:
    """A network namespace, held by a process that sleeps."""

    def __init__(self, address):
        self.address = address
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep 7200"],
            stdout=subprocess.PIPE,
        )
        self.holder.stdout.readline()

    def command(self, *words):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *words]

    def run(self, *words, **options):
        return subprocess.run(self.command(*words), check=True, **options)

    def start(self, *words, **options):
        return subprocess.Popen(self.command(*words), **options)

    def take(self, interface, prefix=24):
        """Moves an interface of this process's namespace here and gives it the address."""
        subprocess.run(["ip", "link", "set", interface, "netns", str(self.holder.pid)], check=True)
        self.run("ip", "address", "add", f"{self.address}/{prefix}", "dev", interface)
        self.run("ip", "link", "set", interface, "up")

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Relay:
    """The relay, running when the constructor returns. program: a path, or words."""

    def __init__(self, program, ends, options):
        self.figures = {}
        words = [program] if isinstance(program, str) else program
        self.process = subprocess.Popen(
            [*words, *ends, *options], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the relay did not start")
        ready = json.loads(line)
        self.a, self.b = ready["a"], ready["b"]

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        text, _ = self.process.communicate(timeout=20)
        self.figures = json.loads(text) if text.strip() else {}


class TwoHosts:
    def __init__(self, program, options):
        self.a, self.b = Host("10.77.0.1"), Host("10.77.0.2")
        self.relay = Relay(program, ["tap:relay-a", "tap:relay-b"], options)
        self.a.take(self.relay.a)
        self.b.take(self.relay.b)

    @property
    def figures(self):
        return self.relay.figures

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.relay.close()
        self.a.close()
        self.b.close()
