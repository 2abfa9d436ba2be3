#!/usr/bin/python3
"""What a capture on the sender's side tells of bulk transfers (pcapng of dumpcap, headers only).

    capture.py FILE PORT

prints for each stream to that port its figures, and what tshark has to say, in a line of JSON.
"""

import collections
import json
import re
import struct
import subprocess
import sys

FLAGS_SYN, FLAGS_RST, FLAGS_ACK = 0x02, 0x04, 0x10


def packets(file):
    """(seconds, bytes of the frame) of each packet."""
    with open(file, "rb") as stream:
        data = stream.read()
    at, resolution = 0, 1e-6
    while at + 12 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if length < 12 or at + length > len(data):
            return  # dumpcap was stopped in the midst of it
        if kind == 1:  # interface description: looks for if_tsresol
            option = at + 16
            while option + 4 <= at + length - 4:
                code, size = struct.unpack_from("<HH", data, option)
                if code == 9:
                    resolution = 10.0 ** -data[option + 4]
                if code == 0:
                    break
                option += 4 + (size + 3) // 4 * 4
        elif kind == 6:
            high, low, captured = struct.unpack_from("<III", data, at + 12)
            yield ((high << 32) + low) * resolution, data[at + 28 : at + 28 + captured]
        at += length


Segment = collections.namedtuple("Segment", "time flow seq ack flags length window sacks stamp echo")


def segments(file):
    """IPv4 TCP segments. flow: (source, source port, destination, destination port)."""
    for time, frame in packets(file):
        if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        header = 14 + (frame[14] & 15) * 4
        total = struct.unpack_from(">H", frame, 16)[0]
        source, target = frame[26:30], frame[30:34]
        fields = struct.unpack_from(">HHIIBBH", frame, header)
        size = (fields[4] >> 4) * 4
        sacks, stamp, echo = [], 0, 0
        at, end = header + 20, min(header + size, len(frame))
        while at < end and frame[at] != 0:
            if frame[at] == 1:
                at += 1
                continue
            if at + 1 >= end or frame[at + 1] < 2:
                break
            if frame[at] == 5:
                for block in range(at + 2, min(at + frame[at + 1], end - 7), 8):
                    sacks.append(struct.unpack_from(">II", frame, block))
            elif frame[at] == 8:
                stamp, echo = struct.unpack_from(">II", frame, at + 2)
            at += frame[at + 1]
        flow = (source, fields[0], target, fields[1])
        length = total - (header - 14) - size
        yield Segment(
            time, flow, fields[2], fields[3], fields[5], length, fields[6], sacks, stamp, echo
        )


def before(a, b):
    return ((a - b) & 0xFFFFFFFF) >= 0x80000000


class Stream:
    """One direction of data and its ACKs."""

    def __init__(self):
        self.end = None  # of what was sent
        self.acked = None
        self.figures = {
            "segments": 0,
            "segments_again": 0,
            "spurious": 0,  # of bytes that the ACKs seen had told of already
            "dsacks": 0,  # segments that the receiver saw twice
            "acks": 0,
            "acks_of_unsent": 0,
        }

    def sent(self, segment):
        end = (segment.seq + segment.length) & 0xFFFFFFFF
        figures = self.figures
        figures["segments"] += 1
        if self.end is None or before(self.end, end):
            self.end = end
        else:
            figures["segments_again"] += 1
            if self.acked is not None and not before(self.acked, end):
                figures["spurious"] += 1

    def heard(self, segment):
        figures = self.figures
        figures["acks"] += 1
        if self.end is None:
            return
        # The SYN's number is acknowledged before anything else was sent.
        if before(self.end, segment.ack):
            figures["acks_of_unsent"] += 1
        if self.acked is None or before(self.acked, segment.ack):
            self.acked = segment.ack
        if segment.sacks:
            begin, end = segment.sacks[0]
            inside = False
            if len(segment.sacks) > 1:
                outer = segment.sacks[1]
                inside = not before(begin, outer[0]) and not before(outer[1], end)
            if inside or not before(segment.ack, end):
                figures["dsacks"] += max(1, round(((end - begin) & 0xFFFFFFFF) / 1448))


def read(file, port):
    """Figures of the streams to that port: {(source, port): figures}."""
    streams = collections.defaultdict(Stream)
    for segment in segments(file):
        if segment.flags & FLAGS_RST:
            continue
        if segment.flow[3] == port and (segment.length > 0 or segment.flags & FLAGS_SYN):
            if segment.flags & FLAGS_SYN:
                streams[segment.flow[:2]].end = (segment.seq + 1) & 0xFFFFFFFF
            else:
                streams[segment.flow[:2]].sent(segment)
        elif segment.flow[1] == port and segment.flags & FLAGS_ACK:
            streams[segment.flow[2:]].heard(segment)
    return [
        {"from": f"{'.'.join(map(str, source))}:{number}", **stream.figures}
        for (source, number), stream in sorted(streams.items())
    ]


def tshark_spurious(file):
    """Segments that tshark calls spurious retransmissions."""
    command = ["tshark", "-r", file, "-q", "-z", "io,stat,0,tcp.analysis.spurious_retransmission"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"\|\s*[\d.]+ <> +[\d.]+ *\|\s*(\d+) \|", text)
    return int(rows[0])


if __name__ == "__main__":
    file = sys.argv[1]
    print(json.dumps({"streams": read(file, int(sys.argv[2])), "tshark": tshark_spurious(file)}))
