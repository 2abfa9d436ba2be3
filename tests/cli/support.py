"""Runs the program (its path is in $PENSTOCK) and makes small data sets."""
import hashlib
import os
import subprocess
import tempfile
import time
import unittest

import json_schema

PENSTOCK = os.environ["PENSTOCK"]


def noise(size, seed=0):
    """Bytes that depend on their arguments only."""
    return hashlib.shake_128(f"{size} {seed}".encode()).digest(size)


class Case(unittest.TestCase):
    """A test in a directory of its own."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = os.path.realpath(temporary.name)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, data):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def data_set(self, root="set"):
        """Odd sizes, an empty file, non-ASCII names, equal files, files smaller than a piece."""
        for seed, (name, size) in enumerate({
                "a/one": 100_000, "a/two": 1, "empty": 0, "é – 数据": 70_003, "z": 65_536,
                "t/tiny 1": 10, "t/tiny 2": 11, "t/tiny 3": 12}.items()):
            self.write(f"{root}/{name}", noise(size, seed))
        self.write(f"{root}/twin", noise(100_000, 0))

    def run_raw(self, *arguments):
        return subprocess.run([PENSTOCK, *arguments], cwd=self.folder, capture_output=True,
                              text=True, timeout=60, check=False)

    def run_ok(self, *arguments):
        result = self.run_raw(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr + result.stdout)
        return result.stdout

    def run_json(self, command, *arguments, status=0):
        """The objects of a --json run, after they were held against the command's schema."""
        result = self.run_raw(command, *arguments, "--json")
        self.assertEqual(result.returncode, status, result.stderr + result.stdout)
        return json_schema.check_lines(command, result.stdout)

    def fails(self, status, *arguments):
        """stderr of a run that must fail; checks that --json tells the same."""
        result = self.run_raw(*arguments)
        self.assertEqual(result.returncode, status, result.stderr + result.stdout)
        self.assertEqual(result.stdout, "")
        objects = self.run_json(*arguments, status=status)
        self.assertIn(objects[-1]["error"].splitlines()[0][:40], result.stderr)
        return result.stderr

    def wait_until_open(self, process, path):
        """Until the process has the file open."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for name in os.listdir(f"/proc/{process.pid}/fd"):
                try:
                    if os.readlink(f"/proc/{process.pid}/fd/{name}") == path:
                        return
                except FileNotFoundError:
                    pass  # closed meanwhile
        process.kill()
        self.fail(f"{path} was never opened")
