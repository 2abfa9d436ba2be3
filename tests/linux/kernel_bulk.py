#!/usr/bin/python3
"""Bulk TCP by the kernel, the counterpart of own_bulk.

    kernel_bulk.py receive ADDRESS PORT SECONDS [FLOWS]
    kernel_bulk.py send ADDRESS PORT SECONDS CONGESTION

`receive` says {"event": "ready"}, takes FLOWS connections and what comes of each in SECONDS from the
beginning of the last, checks every byte, and resets them. `send` sets the congestion control on the socket, and
says what the socket then has; it ends when the receiver resets it. Either prints a line of JSON.
"""

import json
import math
import signal
import socket
import struct
import sys
import threading
import time

BLOCK = b"".join(i.to_bytes(4, "big") for i in range(1 << 16))  # 256 KiB
DOUBLED = BLOCK + BLOCK
CONNECT_SECONDS = 30


def take(stream, flow, clock):
    buffer = bytearray(len(BLOCK))
    view = memoryview(buffer)
    while (left := clock["end"] - time.monotonic()) > 0:
        stream.settimeout(min(left, 1))
        try:
            count = stream.recv_into(view)
        except TimeoutError:
            continue
        except ConnectionResetError:
            break
        if count == 0:
            break
        at = flow["total"] % len(BLOCK)
        flow["intact"] &= view[:count] == DOUBLED[at : at + count]
        flow["total"] += count
    linger = struct.pack("ii", 1, 0)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.close()


def receive(address, port, seconds, count):
    listener = socket.create_server((address, port), backlog=64)
    listener.settimeout(CONNECT_SECONDS)
    print(json.dumps({"event": "ready"}), flush=True)
    flows, threads, clock = [], [], {"end": math.inf}
    for _ in range(count):
        stream, peer = listener.accept()
        flows.append({"peer": peer[0], "total": 0, "before": 0, "intact": True})
        threads.append(threading.Thread(target=take, args=(stream, flows[-1], clock)))
        threads[-1].start()
    for flow in flows:
        flow["before"] = flow["total"]
    clock["end"] = time.monotonic() + seconds
    for thread in threads:
        thread.join()
    for flow in flows:
        flow["bytes"], flow["seconds"] = flow["total"] - flow["before"], seconds
    print(json.dumps({"bytes": sum(f["bytes"] for f in flows), "flows": flows}))


def figures(stream):
    """What the kernel counted of the connection (struct tcp_info)."""
    info = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    resent, dsacks, reordered = struct.unpack_from("=Q2I", info, 208)
    return {
        "bytes_again": resent,
        "dsacks_in": dsacks,
        "reordered": reordered,
        "rtt_us": struct.unpack_from("=I", info, 68)[0],
        "cwnd": struct.unpack_from("=I", info, 80)[0],
        "ssthresh": struct.unpack_from("=I", info, 76)[0],
    }


def send(address, port, seconds, congestion):
    stream = socket.socket()
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    stream.settimeout(CONNECT_SECONDS)
    stream.connect((address, port))
    signal.signal(signal.SIGTERM, lambda *_: stream.shutdown(socket.SHUT_RDWR))
    name = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
    end = time.monotonic() + seconds
    total, at, view = 0, 0, memoryview(BLOCK)
    try:
        while time.monotonic() < end:
            stream.settimeout(max(end - time.monotonic(), 0.01))
            count = stream.send(view[at:])
            total, at = total + count, (at + count) % len(BLOCK)
    except (TimeoutError, ConnectionResetError, BrokenPipeError):
        pass
    print(json.dumps({"bytes": total, "congestion": name, "counters": figures(stream)}))
    stream.close()


if __name__ == "__main__":
    where = (sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    if sys.argv[1] == "receive":
        receive(*where, int(sys.argv[5]) if len(sys.argv) > 5 else 1)
    else:
        send(*where, sys.argv[5])
