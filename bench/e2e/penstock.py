"""A `penstock seed` process: started, watched by its own JSON, stopped."""

import json
import os
import subprocess
import threading

import world
from world import support


class Seed:
    """Listening when the constructor returns. arguments: further options."""

    def __init__(self, program, core, paths, data, arguments=(), environment=None):
        self.folder = world.scratch(f"seed-{world.free_port()}")
        self.state = os.path.join(self.folder, "state")
        os.makedirs(self.state)
        self.port = world.free_port()
        self.peer = f"{world.SERVER_ADDRESS}:{self.port}"
        self.command = [*world.pinned(core), program, "seed", *paths, "--data", data, "--state", self.state,
                        "--listen", self.peer, "--json", *arguments]
        self.environment = environment or world.server_environment()
        self.start()

    def start(self):
        self.objects = []
        self.process = support.Process("penstock", self.command, self.folder, stdout=subprocess.PIPE,
                                       environment=self.environment)
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        support.Deadline(60).wait_until(lambda: self._events("listening"), "penstock to listen", self.process)

    def _read(self):
        for line in self.process.stdout:
            self.objects.append(json.loads(line))

    def _events(self, kind):
        return [o for o in list(self.objects) if o.get("event") == kind]

    def status(self):
        """Its latest status; empty before the first."""
        found = self._events("status")
        return found[-1] if found else {}

    def wait_serving(self, load_program, torrent, seconds=120):
        """Until it gives a block of the torrent to a client: with --verify full that is when all has been hashed."""
        deadline = support.Deadline(seconds)
        while True:
            try:
                return world.Load(load_program, None, ["--torrent", torrent, "--peer", self.peer, "--connections", "1",
                                                       "--depth", "1", "--warmup", "0s", "--duration", "50ms"])
            except world.Failure as failure:
                if not deadline.left() or self.process.poll() is not None:
                    raise world.Failure(f"penstock does not serve {torrent}: {failure}") from None

    def stop(self):
        """What it said at its end."""
        self.process.stop(seconds=15)
        self._reader.join(5)
        return self.objects[-1] if self.objects else {}

    def restart(self):
        """Again, with the verification state that it has kept."""
        self.stop()
        self.start()
