#!/usr/bin/python3
"""A probe that refuses everything: the comparison must notice. Run by tools/check canaries."""

import json
import sys

for line in sys.stdin:
    print(json.dumps({"file": line.rstrip("\n"), "ok": False, "error": "canary"}))
