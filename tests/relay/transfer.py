#!/usr/bin/python3
"""One TCP transfer by the kernel: `transfer.py receive ADDRESS PORT` or `transfer.py send ADDRESS
PORT SECONDS [CONGESTION]`. Either prints a line of JSON with what it did; the receiver checks every
byte (the content is a counter). `echo` and `ping` measure round trips of datagrams.
"""

import json
import socket
import sys
import time

BLOCK = b"".join(i.to_bytes(4, "big") for i in range(1 << 16))  # 256 KiB


def receive(address, port):
    listener = socket.create_server((address, port))
    print(json.dumps({"event": "listening"}), flush=True)
    stream, _ = listener.accept()
    buffer = bytearray(len(BLOCK))
    view = memoryview(buffer)
    total, wrong, start = 0, False, time.monotonic()
    doubled = BLOCK + BLOCK
    while count := stream.recv_into(view):
        at = total % len(BLOCK)
        wrong |= view[:count] != doubled[at : at + count]
        total += count
    seconds = time.monotonic() - start
    print(json.dumps({"bytes": total, "seconds": seconds, "intact": not wrong}))


def send(address, port, seconds, congestion="cubic"):
    stream = socket.socket()
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    stream.connect((address, port))
    end = time.monotonic() + seconds
    total, at, view = 0, 0, memoryview(BLOCK)
    while time.monotonic() < end:
        count = stream.send(view[at:])
        total, at = total + count, (at + count) % len(BLOCK)
    name = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
    stream.shutdown(socket.SHUT_WR)
    stream.recv(1)
    print(json.dumps({"bytes": total, "congestion": name}))


def echo(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind((address, port))
        print(json.dumps({"event": "listening"}), flush=True)
        while True:
            end.sendto(*end.recvfrom(2048))


def ping(address, port, count=10):
    """Round trips of datagrams, in milliseconds; the first one also finds the neighbour."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        end.connect((address, port))
        for _ in range(count + 1):
            start = time.monotonic()
            end.send(b"ping")
            end.recv(2048)
            times.append((time.monotonic() - start) * 1e3)
    print(json.dumps({"ms": times[1:]}))


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "echo":
        echo(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "ping":
        ping(sys.argv[2], int(sys.argv[3]))
    else:
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), *sys.argv[5:])
