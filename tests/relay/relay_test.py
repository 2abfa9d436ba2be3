#!/usr/bin/python3
"""The relay between two kernels: Linux's TCP crosses it intact, at the rate, delay and loss that
were asked for. usage: relay_test.py RELAY
"""

import json
import os
import subprocess
import sys
import unittest

import rig

HERE = os.path.dirname(os.path.abspath(__file__))
TRANSFER = [sys.executable, os.path.join(HERE, "transfer.py")]
PROGRAM = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else "relay"


def transfer(hosts, seconds):
    """From a to b; what the receiver says."""
    receiver = hosts.b.start(*TRANSFER, "receive", hosts.b.address, "5001", stdout=subprocess.PIPE)
    receiver.stdout.readline()
    hosts.a.run(*TRANSFER, "send", hosts.b.address, "5001", str(seconds), stdout=subprocess.DEVNULL)
    text, _ = receiver.communicate(timeout=30)
    return json.loads(text)


class RelayTest(unittest.TestCase):
    def test_nothing_is_impaired_when_nothing_is_asked_for(self):
        with rig.TwoHosts(PROGRAM, []) as hosts:
            got = transfer(hosts, 2)
        self.assertTrue(got["intact"])
        rate = got["bytes"] * 8 / got["seconds"] / 1e9
        print(f"through the relay: {rate:.2f} Gbit/s", file=sys.stderr)
        self.assertGreater(rate, 0.1)  # a floor for any machine
        for side in ("ab", "ba"):
            self.assertLess(hosts.figures[side]["send_failed"], 10)  # before the ends were up
            self.assertEqual(hosts.figures[side]["lost"], 0)

    def test_delay(self):
        with rig.TwoHosts(PROGRAM, ["--both", "delay=20ms"]) as hosts:
            there = [hosts.b.address, "5002"]
            echo = hosts.b.start(*TRANSFER, "echo", *there, stdout=subprocess.PIPE)
            echo.stdout.readline()
            ping = hosts.a.run(*TRANSFER, "ping", *there, stdout=subprocess.PIPE)
            echo.kill()
            echo.communicate()
        times = json.loads(ping.stdout)["ms"]
        print(f"round trips of 40 ms: {min(times):.2f} … {max(times):.2f} ms", file=sys.stderr)
        self.assertGreaterEqual(min(times), 40)
        self.assertLess(min(times), 42)

    def test_rate_and_queue(self):
        # 20 ms of queue: what a transfer gets is the rate less its headers.
        options = ["--ab", "rate=100Mbps,queue=250KB,delay=5ms", "--ba", "delay=5ms"]
        with rig.TwoHosts(PROGRAM, options) as hosts:
            got = transfer(hosts, 3)
        self.assertTrue(got["intact"])
        rate = got["bytes"] * 8 / got["seconds"]
        self.assertLess(rate, 100e6)
        self.assertGreater(rate, 70e6)
        self.assertLessEqual(hosts.figures["ab"]["queue_bytes_max"], 250_000)

    def test_all_that_is_bad_at_once(self):
        bad = "delay=2ms,jitter=1ms,loss=1%,loss_run=2,duplicate=1%,corrupt=0.5%,reorder=1%"
        with rig.TwoHosts(PROGRAM, ["--both", bad, "--seed", "7"]) as hosts:
            got = transfer(hosts, 3)
        self.assertTrue(got["intact"])
        figures = hosts.figures["ab"]
        self.assertGreater(figures["frames"], 500)
        for chance, key in ((0.01, "lost"), (0.01, "duplicated"), (0.005, "corrupted")):
            self.assertGreater(figures[key], 0)
            self.assertLess(figures[key], figures["frames"] * chance * 3 + 20)


class Packets(unittest.TestCase):
    """By packet sockets: whole TSO frames of a veth are cut."""

    def test_tso_frames_are_cut(self):
        a, b = rig.Host("10.78.0.1"), rig.Host("10.78.0.2")
        for host, name in ((a, "va"), (b, "vb")):
            subprocess.run(
                ["ip", "link", "add", name, "type", "veth", "peer", "name", name + "-relay"],
                check=True,
            )
            host.take(name)
            quiet = ["ip", "link", "set", name + "-relay", "up", "arp", "off"]
            subprocess.run([*quiet, "addrgenmode", "none"], check=True)
        relay = rig.Relay(PROGRAM, ["packet:va-relay", "packet:vb-relay"], ["--both", "delay=1ms"])
        pair = type("Pair", (), {"a": a, "b": b})
        got = transfer(pair, 2)
        relay.close()
        a.close()
        b.close()
        self.assertTrue(got["intact"])
        self.assertGreater(relay.figures["ab"]["cut"], 0)
        self.assertEqual(relay.figures["ab"]["too_large"], 0)
        self.assertEqual(relay.figures["ab"]["malformed"], 0)
        rate = got["bytes"] * 8 / got["seconds"] / 1e9
        print(f"between packet sockets: {rate:.2f} Gbit/s", file=sys.stderr)


if __name__ == "__main__":
    why_not = rig.enter_namespace()
    if why_not:
        print(f"skipped: {why_not}", file=sys.stderr)
        sys.exit(1 if os.environ.get("STRICT") == "1" else 77)
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
