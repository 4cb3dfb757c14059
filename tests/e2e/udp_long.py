"""Sends long datagrams to an echo server and says what came back: `udp_long.py ADDRESS PORT [reversed]`.

Prints "sent N answered N wrong_sender N". With "reversed", IPv4 only, it cuts them up itself, and sends the last part first.
"""

import socket
import struct
import sys

# From one byte more than a frame holds to nearly the longest there is; the answer is some bytes longer.
LENGTHS = [1473, 2000, 2961, 8192, 8193, 20000, 60000]
PART = 1400


def address_bytes(address):
    return socket.inet_aton(address)


def send_reversed(raw, data, me, target, identification):
    # Without a checksum (RFC 768).
    datagram = struct.pack("!HHHH", me[1], target[1], 8 + len(data), 0) + data
    starts = range(0, len(datagram), PART)
    for start in reversed(starts):
        part = datagram[start : start + PART]
        more = start + PART < len(datagram)
        word = (0x2000 if more else 0) | start // 8
        # The kernel fills in the checksum.
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(part), identification, word, 64, 17, 0)
        raw.sendto(header + address_bytes(me[0]) + address_bytes(target[0]) + part, (target[0], 0))


def main():
    target = (sys.argv[1], int(sys.argv[2]))
    is_reversed = sys.argv[3:] == ["reversed"]
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) if is_reversed else None
    sent = answered = wrong_sender = 0
    for turn, length in enumerate(LENGTHS * 3):
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.bind(("10.0.0.2" if family == socket.AF_INET else "::", 0))
            udp.settimeout(3)
            data = bytes((turn + i * 7 + i // 256) % 251 for i in range(length))
            if raw:
                send_reversed(raw, data, udp.getsockname(), target, 1000 + turn)
            else:
                udp.sendto(data, target)
            sent += 1
            try:
                got, sender = udp.recvfrom(65536)
            except TimeoutError:
                continue
            answered += got.split(b" ", 2)[2] == data
            wrong_sender += sender[:2] != target
    print(f"sent {sent} answered {answered} wrong_sender {wrong_sender}")


main()
