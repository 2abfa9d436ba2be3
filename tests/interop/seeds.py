"""Seeds to fetch from: Penstock, which is under test, and libtorrent, which tells a failing client
from a failing seed.
"""

import json
import os
import subprocess
import sys
import threading

import support

HERE = os.path.dirname(os.path.abspath(__file__))


class Seed:
    """A seed of one torrent, listening when the constructor returns. `peer` is its "address:port"."""

    ENDS_WITH = (0,)  # exit statuses of a clean stop by SIGTERM
    cable = None

    def __init__(self, command, folder, environment=None, enter=None):
        self._process_arguments = {
            "command": command,
            "folder": folder,
            "environment": environment,
            "enter": enter,
        }
        self.start()

    def start(self):
        """Also again, in the place of a process that is gone."""
        for more in (True, False):
            try:
                return self._start_once()
            except support.Failure as failure:
                # Seeds of one machine side by side: DPDK's af_packet makes a number of those of
                # process and interface, which may be another one's. The message says so.
                if not more or "same fanout group" not in str(failure):
                    raise

    def _start_once(self):
        self.objects = []  # what it said on stdout, line by line
        self.process = support.Process("seed", stdout=subprocess.PIPE, **self._process_arguments)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            support.Deadline(20).wait_until(
                lambda: any(o.get("event") == "listening" for o in list(self.objects)),
                "the seed to listen",
                self.process,
            )
        except support.Failure:
            self.process.stop()
            raise

    def _read(self):
        for line in self.process.stdout:
            try:
                self.objects.append(json.loads(line))
            except ValueError:
                self.objects.append({"event": "not JSON", "line": line.decode(errors="replace")})

    def stop(self):
        """Ends it. Raises Failure unless it ended cleanly by itself."""
        if self.process.poll() is not None:
            status = self.process.status()
            self.process.stop()
            raise support.Failure(f"the seed ended by itself with {status}")
        code = self.process.stop()
        self._reader.join(5)
        if code not in self.ENDS_WITH:
            raise support.Failure(
                "the seed did not stop on SIGTERM"
                if code is None
                else f"the seed stopped with {self.process.status()}"
            )
        broken = [o for o in self.objects if o.get("event") == "not JSON"]
        if broken:
            raise support.Failure(
                f"the seed's stdout has a line that is no JSON: {broken[0]['line']!r}"
            )

    def kill(self):
        self.process.stop(seconds=1)


class LibtorrentSeed(Seed):
    def __init__(self, dataset, folder, upload_limit_mib=0, **_):
        self.peer = f"{support.address()}:{support.free_port()}"
        super().__init__(
            [
                sys.executable,
                os.path.join(HERE, "libtorrent_peer.py"),
                "seed",
                dataset.torrent,
                "--data",
                dataset.data,
                "--listen",
                self.peer,
                "--upload-limit",
                str(upload_limit_mib << 20),
            ],
            folder,
        )


class PenstockSeed(Seed):
    ENDS_WITH = (0, 130)

    def __init__(
        self,
        dataset,
        folder,
        program,
        shards=1,
        disable="",
        upload_limit_mib=0,
        cable=None,
        address=None,
    ):
        self.cable = cable
        self.port = port = support.free_port()
        self.peer = support.join(cable.seed if cable else address or support.address(), port)
        self.shards = shards
        state = os.path.join(folder, "state")
        os.makedirs(state)
        command = [
            program,
            "seed",
            dataset.torrent,
            "--data",
            dataset.data,
            "--state",
            state,
            "--listen",
            f":{port}" if cable else self.peer,
            "--shards",
            str(shards),
            "--json",
            *(cable.arguments() if cable else []),
        ]
        if upload_limit_mib:
            command += ["--upload-limit", f"{upload_limit_mib}MiB/s"]
        super().__init__(
            command,
            folder,
            {"PENSTOCK_DISABLE": disable} if disable else None,
            cable.enter if cable else None,
        )

    def kill(self):
        super().kill()
        if self.cable:
            try:
                self.cable.close()
            except support.Failure:
                pass  # another one is on its way

    def stop(self):
        super().stop()
        if self.cable:
            self.cable.close()
        final = self.objects[-1] if self.objects else {}
        if final.get("final") is not True:
            raise support.Failure(f'the seed\'s last object lacks "final": {final}')
        if self.shards > 1 and not final.get("cross_shard_fetches"):
            raise support.Failure(
                f"{self.shards} shards, but cross_shard_fetches is missing or 0: {final}"
            )
