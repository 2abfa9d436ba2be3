#!/usr/bin/python3
"""penstock bench leech, against penstock seed."""
import json
import os
import signal
import socket
import subprocess
import unittest

import json_schema
from support import PENSTOCK, Case, noise


class BenchLeech(Case):
    def make(self, form="v1", size=600_000):
        self.write("data/set/big", noise(size))
        self.write("data/set/odd", noise(70_001, 1))
        self.run_ok("create", "data/set", f"--{form}", "--piece-size", "64KiB", "-o", "t.torrent")

    def seed(self, verify="lazy"):
        """Listening on the port that is returned; ended with the test."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.makedirs(self.path("state"), exist_ok=True)
        process = subprocess.Popen(
            [PENSTOCK, "seed", "t.torrent", "--data", "data", "--state", "state", "--listen",
             f"127.0.0.1:{port}", "--cache", "16MiB", "--verify", verify, "--json"],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

        def end():
            process.send_signal(signal.SIGTERM)
            process.stdout.close()
            process.wait(20)

        self.addCleanup(end)
        for line in process.stdout:
            if json.loads(line).get("event") == "listening":
                return port
        self.fail("the seed did not listen")

    def leech(self, port, *arguments, status=0, duration="300ms"):
        result = self.run_raw("bench", "leech", "--torrent", "t.torrent", "--peer",
                              f"127.0.0.1:{port}", "--duration", duration, "--warmup", "100ms",
                              "--json", *arguments)
        self.assertEqual(result.returncode, status, result.stderr + result.stdout)
        return json_schema.check_lines("bench.leech", result.stdout)

    def test_every_form_of_torrent_verified(self):
        for form in ("v1", "v2", "hybrid"):
            with self.subTest(form):
                self.make(form)
                final = self.leech(self.seed(), "--verify", "--connections", "4")[-1]
                self.assertGreater(final["pieces_good"], 0)
                self.assertEqual(final["pieces_bad"], 0)
                self.assertEqual(final["connections_active"], 4)
                self.assertGreater(final["rate_bytes_per_second"], 0)
                self.assertEqual(final["closes"], {})
                os.unlink(self.path("t.torrent"))

    def test_wrong_bytes_are_found(self):
        self.make()
        with open(self.path("data/set/big"), "r+b") as file:
            file.seek(200_000)
            file.write(b"wrong")
        final = self.leech(self.seed("trust"), "--verify", "--connections", "2", status=1)[-1]
        self.assertGreater(final["pieces_bad"], 0)
        self.assertGreater(final["pieces_good"], 0)

    def test_patterns_open_loop_churn_and_addresses(self):
        self.make()
        port = self.seed()
        for pattern in ("blocks", "sequential"):
            self.assertGreater(self.leech(port, "--pattern", pattern)[-1]["blocks"], 0)
        self.assertGreater(self.leech(port, "--zipf", "1.1")[-1]["blocks"], 0)
        final = self.leech(port, "--rate", "5MiB/s", "--source", "127.1.0.0/16")[-1]
        self.assertLess(final["rate_bytes_per_second"], 8 << 20)
        churned = self.leech(port, "--churn", "50", duration="1500ms")[-1]
        self.assertGreater(churned["closes"]["churn"], 10)
        idle = self.leech(port, "--depth", "0")[-1]
        self.assertEqual((idle["requests"], idle["bytes"]), (0, 0))

    def own_tcp(self, made, seed_at, leech_at):
        """Both programs in a network of their own. What they said last, the seed first."""
        self.make()
        os.makedirs(self.path("state"))
        with open(self.path("go"), "w", encoding="utf-8") as file:
            file.write(f"""ip link set lo up
{made}
"$PENSTOCK" seed t.torrent --data data --state state --cache 64MiB --json {seed_at} >seed.out &
seed=$!
for i in $(seq 100); do grep -q listening seed.out && break; sleep 0.1; done
"$PENSTOCK" bench leech --torrent t.torrent --peer 10.9.0.1:7001 --connections 50 --verify \
    --warmup 100ms --duration 500ms --json {leech_at} >leech.out
status=$?
# Those that are gone have said so.
for i in $(seq 30); do
  sleep 0.1; tail -n 1 seed.out | grep -q '"peers":0' && break
done
kill $seed; wait $seed
exit $status
""")
        result = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "sh", "go"],
                                cwd=self.folder, capture_output=True, text=True, timeout=60,
                                check=False)
        if "unshare failed" in result.stderr or "without DPDK" in result.stderr:
            self.skipTest(result.stderr)
        self.assertEqual(result.returncode, 0, result.stderr)
        said = []
        for name, command in (("seed.out", "seed"), ("leech.out", "bench.leech")):
            with open(self.path(name), encoding="utf-8") as file:
                said.append(json_schema.check_lines(command, file.read()))
        seed, leech = said
        self.assertEqual(seed[-2]["peers"], 0, "its connections outlive the load generator")
        self.assertEqual((leech[-1]["connections_active"], leech[-1]["pieces_bad"]), (50, 0))
        self.assertGreater(leech[-1]["pieces_good"], 0)
        self.assertGreater(leech[-1]["busy_seconds"], 0)
        return seed[-1], leech[-1]

    def test_own_tcp_over_a_tap_interface(self):
        _, leech = self.own_tcp(
            "ip tuntap add dev t0 mode tap; ip address add 10.9.0.1/24 dev t0; ip link set t0 up",
            "--listen 10.9.0.1:7001", "--backend tap --interface t0 --address 10.9.0.2/24")
        self.assertEqual((leech["backend"], leech["closes"]), ("tap", {}))

    def test_own_tcp_on_both_sides_of_shared_memory(self):
        memif = "--device net_memif0,socket=penstock-test,role="
        seed, leech = self.own_tcp(
            "", f"--listen :7001 {memif}server --address 10.9.0.1/24",
            f"{memif}client --address 10.9.0.2/24")
        self.assertEqual((leech["backend"], leech["closes"]), ("dpdk", {}))
        # memif copies by itself, inside.
        self.assertGreater(seed["payload_bytes_zero_copy"], leech["bytes"])

    def test_mistakes_are_usage_errors(self):
        self.make()
        for arguments in (["--peer", "nonsense"], ["--peer", "127.0.0.1:1", "--rate", "5"],
                          ["--peer", "127.0.0.1:1", "--source", "127.0.0.0/99"],
                          ["--peer", "127.0.0.1:1", "--http", "http://127.0.0.1:1/x"],
                          ["--peer", "127.0.0.1:1", "--verify", "--pattern", "blocks"], [],
                          ["--peer", "127.0.0.1:1", "--backend", "dpdk"],
                          ["--peer", "127.0.0.1:1", "--backend", "tap"],
                          ["--peer", "127.0.0.1:1", "--zipf", "0"],
                          ["--peer", "127.0.0.1:1", "--zipf", "1", "--pattern", "sequential"],
                          ["--peer", "127.0.0.1:1", "--backend", "tap", "--address", "10.9.0.2/24",
                           "--source", "127.0.0.0/8"]):
            with self.subTest(arguments):
                result = self.run_raw("bench", "leech", "--torrent", "t.torrent", *arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn("error", result.stderr)


if __name__ == "__main__":
    unittest.main()
