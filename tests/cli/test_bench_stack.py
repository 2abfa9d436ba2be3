#!/usr/bin/python3
"""penstock bench stack: its seed, its load generator, and what they leave behind."""
import os
import signal
import subprocess
import time
import unittest

import json_schema
from support import PENSTOCK, Case


class BenchStack(Case):
    def stack(self, *arguments):
        result = self.run_raw("bench", "stack", "--size", "4MiB", "--dir", self.folder, "--json",
                              *arguments)
        if "without DPDK" in result.stderr:
            self.skipTest(result.stderr)
        return result

    def nothing_is_left(self):
        self.assertEqual(os.listdir(self.folder), [])

    def test_sessions_over_shared_memory(self):
        # Many: more under way than a ring of memif's holds, which 22.11's driver doesn't survive by
        # itself. One: its requests begin at odd places of a segment, where 22.11 can't add up.
        for link, connections in ((["memif"], 50), (["memif-copy"], 50), (["vhost"], 1),
                                  (["vhost", "--tso"], 50)):
            with self.subTest(link):
                self.check_sessions(connections, "--via", *link)

    def check_sessions(self, connections, *link):
        result = self.stack(*link, "--connections", str(connections), "--duration", "3s",
                            "--warmup", "0s", "--verify")
        self.assertEqual(result.returncode, 0, result.stderr + result.stdout)
        final = json_schema.check_lines("bench.stack", result.stdout)[-1]
        seeder, leecher = final["seeder"], final["leecher"]
        self.assertEqual((leecher["connections_active"], leecher["closes"]), (connections, {}))
        self.assertEqual(final["dataset_bytes"], 4 << 20)
        self.assertGreater(leecher["bytes"], 4 << 20)
        self.assertGreater(leecher["pieces_good"], 0)
        self.assertEqual(leecher["pieces_bad"], 0)
        # Content goes by reference, the 13 bytes in front of a block by copy (but where the device
        # copies all).
        self.assertGreater(seeder["payload_bytes_zero_copy"], seeder["bytes"])
        copied = sum(seeder["payload_bytes_copied"].values())
        self.assertLess(copied, seeder["payload_bytes_zero_copy"] / 500)
        # Two processes that count apart, over windows of about one length.
        rates = [side["bytes"] / side["seconds"] for side in (seeder, leecher)]
        self.assertLess(abs(rates[0] - rates[1]), 0.5 * max(rates))
        for side in (seeder, leecher):
            self.assertGreater(side["busy_ns_per_1448_bytes"], 10)
            self.assertLessEqual(side["busy_seconds"], 1.05 * side["seconds"])
        self.nothing_is_left()

    def test_interrupted(self):
        with subprocess.Popen(
                [PENSTOCK, "bench", "stack", "--size", "4MiB", "--dir", self.folder, "--json"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=30)
        if "without DPDK" in errors:
            self.skipTest(errors)
        self.assertEqual(process.returncode, 130, errors)
        final = json_schema.check_lines("bench.stack", out)[-1]
        self.assertEqual(final["status"], "interrupted")
        self.nothing_is_left()

    def test_mistakes(self):
        for arguments in (["--size", "5"], ["--size", "1B"], ["--duration", "1s"], ["--cpus", "0"],
                          ["--cpus", "x"], ["--via", "pigeon"], ["--connections", "0"]):
            with self.subTest(arguments):
                result = self.run_raw("bench", "stack", *arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn("error", result.stderr)
        result = self.run_raw("bench", "stack", "--dir", self.path("nowhere"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("--dir", result.stderr)


if __name__ == "__main__":
    unittest.main()
