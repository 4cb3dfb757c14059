"""Who answers along the way to a server: `trace.py udp|tcp|icmp ADDRESS PORT HOPS`.

Sends a packet with each hop limit from 1 to HOPS and prints a line for each: the limit, who answered, and how: "exceeded",
"refused", "unreachable", "answered", "connected" or "nothing". As traceroute does it, without its package.
"""

import ipaddress
import select
import socket
import struct
import sys
import time

WAIT = 2.0
IP_RECVERR, IPV6_RECVERR = 11, 25
# <linux/errqueue.h>: errno, origin, type, code, and behind them the address of who sent the error.
ERROR = struct.Struct("=IBBBBII")


def said(version, kind, code):
    if (version, kind) in ((4, 11), (6, 3)):
        return "exceeded"
    if (version, kind, code) in ((4, 3, 3), (6, 1, 4)):
        return "refused"
    return "unreachable"


def error_of(sock, version):
    """The error that waits at the socket."""
    try:
        _, controls, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return None
    for _, kind, data in controls:
        if kind not in (IP_RECVERR, IPV6_RECVERR):
            continue
        _, origin, icmp_type, code, _, _, _ = ERROR.unpack_from(data)
        sender = data[ERROR.size :]
        if origin not in (2, 3):
            continue
        raw = sender[4:8] if version == 4 else sender[8:24]
        return f"{ipaddress.ip_address(raw)} {said(version, icmp_type, code)}"
    return None


def one(protocol, target, port, hops):
    version = target.version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    level = socket.IPPROTO_IP if version == 4 else socket.IPPROTO_IPV6
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as sock:
        sock.setblocking(False)
        sock.setsockopt(level, socket.IP_TTL if version == 4 else socket.IPV6_UNICAST_HOPS, hops)
        sock.setsockopt(level, IP_RECVERR if version == 4 else IPV6_RECVERR, 1)
        sock.connect_ex((str(target), port))
        if protocol == "udp":
            sock.send(b"anybody there?")
        until = time.monotonic() + WAIT
        while (left := until - time.monotonic()) > 0:
            readable, writable, odd = select.select([sock], [sock] if protocol == "tcp" else [], [sock], left)
            if error := error_of(sock, version):
                return error
            if writable and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                return f"{target} connected"
            if readable and protocol == "udp":
                try:
                    sock.recv(2048)
                    return f"{target} answered"
                except OSError:
                    pass
        return "- nothing"


def main():
    protocol, target, port, hops = sys.argv[1], ipaddress.ip_address(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    for limit in range(1, hops + 1):
        print(limit, one(protocol, target, port, limit))


main()
