"""Begins the corpora with what tests/conformance has: `seed.py CONFORMANCE CORPUS`."""

import pathlib
import struct
import sys


def frames(capture):
    """Time and bytes of each frame of a pcap in the byte order of this machine."""
    at = 24
    while at < len(capture):
        seconds, micros, length, _ = struct.unpack_from("=IIII", capture, at)
        yield seconds * 1_000_000 + micros, capture[at + 16 : at + 16 + length]
        at += 16 + length


def main():
    suite, corpus = map(pathlib.Path, sys.argv[1:])

    def put(target, name, content):
        (corpus / target).mkdir(parents=True, exist_ok=True)
        (corpus / target / name).write_bytes(content)

    for case in sorted(path.parent for path in suite.glob("*/why.txt")):
        came = []
        for number, port in enumerate(("outside", "inside")):
            for kind in ("in", "out"):
                file = case / f"{kind}-{port}.pcap"
                if not file.is_file():
                    continue
                capture = file.read_bytes()
                put("capture", f"{case.name}-{file.stem}", capture)
                for index, (at, frame) in enumerate(frames(capture)):
                    name = f"{case.name}-{file.stem}-{index}"
                    put("parse", name, frame)
                    put("quote", name, frame)
                    # A UDP datagram of IPv4 without options: what it carries, for each kind of settings.
                    if frame[12:15] == b"\x08\x00\x45" and frame[23:24] == b"\x11":
                        for settings in (b"\x02\x06\x00", b"\x42\x06\x00", b"\x48\x08\x01", b"\x02\x07\x01"):
                            put("quic", f"{name}-{settings.hex()}", settings + frame[42:])
                    if frame[12:14] == b"\x86\xdd":
                        put("neighbour", name, frame)
                    if frame[12:14] == b"\x08\x06":
                        put("arp", name, frame[14:])
                    if kind == "in":
                        came.append((at, number, frame))
        put("config", case.name, (case / "guideway.toml").read_bytes())
        stream, before = b"", 0
        for at, number, frame in sorted(came, key=lambda one: one[0]):
            steps = min((at - before) // 300_000 if before else 0, 63)
            stream += struct.pack("<BH", steps << 2 | number, len(frame)) + frame
            before = at
        put("replay", case.name, stream)


main()
