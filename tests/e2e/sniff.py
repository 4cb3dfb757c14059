"""Prints a line for each ARP and UDP frame that comes in by an interface, until it is stopped: `sniff.py INTERFACE`.

    arp OPERATION SENDER_MAC SENDER TARGET
    udp SOURCE:PORT DESTINATION:PORT CHECKSUM
"""

import ipaddress
import socket
import struct
import sys

ETH_P_ALL = 3


def describe(frame):
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == 0x0806 and len(frame) >= 42:
        operation, mac, sender, _, target = struct.unpack_from("!H6s4s6s4s", frame, 20)
        return f"arp {operation} {mac.hex(':')} {ipaddress.ip_address(sender)} {ipaddress.ip_address(target)}"
    if kind == 0x0800 and len(frame) >= 42 and frame[23] == 17:
        source, target = (ipaddress.ip_address(frame[at : at + 4]) for at in (26, 30))
        ports = 14 + (frame[14] & 15) * 4
        source_port, target_port, _, checksum = struct.unpack_from("!HHHH", frame, ports)
        return f"udp {source}:{source_port} {target}:{target_port} {checksum:#06x}"
    return None


def main():
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as raw:
        raw.bind((sys.argv[1], ETH_P_ALL))
        print("ready", flush=True)
        while True:
            frame, (_, _, kind, *_) = raw.recvfrom(65536)
            line = describe(frame) if kind != socket.PACKET_OUTGOING else None
            if line:
                print(line, flush=True)


main()
