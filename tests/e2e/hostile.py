"""Sends frames that guideway drops, of each kind COUNT: `hostile.py INTERFACE STATION FRONTEND COUNT`.

STATION is guideway's Ethernet address, FRONTEND an address with a rule on TCP 80. Prints a line for each kind, the name of
the reason for which it is to be dropped.
"""

import socket
import struct
import sys

CLIENT = "10.0.0.2"
SYN, FIN, ACK = 2, 1, 16


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(payload, protocol, source, destination, ttl=64, version=0x45, extra_len=0):
    fields = (version, 0, 20 + len(payload) + extra_len, 7, 0, ttl, protocol, 0)
    header = struct.pack("!BBHHHBBH", *fields) + socket.inet_aton(source) + socket.inet_aton(destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def tcp(source_port, port, flags, offset=5):
    return struct.pack("!HHIIBBHHH", source_port, port, 1, 0, offset << 4, flags, 8192, 0, 0)


def udp(source_port, port, length, payload=b"some bytes"):
    return struct.pack("!HHHH", source_port, port, length or 8 + len(payload), 0) + payload


def kinds(station, frontend):
    ethernet = station + mac("02:00:00:00:66:66") + b"\x08\x00"
    syn = tcp(1000, 80, SYN)
    good = ipv4(syn, 6, CLIENT, frontend)
    flipped = bytearray(good)
    flipped[10] ^= 0xFF
    # An error about a response, which would go on to the backend if it had a hop left; and about it none is sent.
    error = b"\x03\x01\0\0\0\0\0\0" + ipv4(tcp(80, 1001, ACK), 6, frontend, CLIENT)
    error = error[:2] + struct.pack("!H", checksum(error)) + error[4:]
    echo = b"\x08\x00\x00\x00\x00\x01\x00\x01"
    # No fragments: net_af_packet has the kernel put them together first, and single ones never come out.
    return {
        "wrong-mac": mac("02:00:00:00:99:99") + ethernet[6:] + good,
        "not-ip": ethernet[:12] + b"\x88\xb5" + b"\0" * 60,
        "ipv4-truncated": ethernet + ipv4(syn, 6, CLIENT, frontend, extra_len=100),
        "ipv4-bad-header": ethernet + ipv4(syn, 6, CLIENT, frontend, version=0x65),
        "ipv4-bad-checksum": ethernet + bytes(flipped),
        # LAND: from the frontend to itself.
        "martian-source": ethernet + ipv4(tcp(80, 80, SYN), 6, frontend, frontend),
        "tcp-truncated": ethernet + ipv4(syn[:12], 6, CLIENT, frontend),
        "tcp-bad-offset": ethernet + ipv4(tcp(1000, 80, SYN, offset=15), 6, CLIENT, frontend),
        "tcp-bad-flags": ethernet + ipv4(tcp(1000, 80, SYN | FIN), 6, CLIENT, frontend),
        "udp-bad-length": ethernet + ipv4(udp(1000, 53, 9999), 17, CLIENT, frontend),
        "port-zero": ethernet + ipv4(tcp(0, 80, ACK), 6, CLIENT, frontend),
        "icmp-malformed": ethernet + ipv4(echo, 1, CLIENT, frontend),
        "no-rule": ethernet + ipv4(tcp(1000, 9, SYN), 6, CLIENT, frontend),
        "not-ours": ethernet + ipv4(syn, 6, CLIENT, "198.18.0.1"),
        "ttl-exceeded": ethernet + ipv4(error, 1, CLIENT, frontend, ttl=1),
    }


def main():
    interface, station, frontend, count = sys.argv[1:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        for reason, frame in kinds(mac(station), frontend).items():
            for _ in range(int(count)):
                raw.send(frame)
            print(reason)


main()
