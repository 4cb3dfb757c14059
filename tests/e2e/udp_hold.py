"""UDP clients that go on: `udp_hold.py ADDRESS PORT SOCKETS STOP_FILE NAME`.

Each socket sends a datagram every 50 ms until STOP_FILE exists, and listens which backend answers. Prints "ready", and at
the end "began N left N moved N": sockets that backend NAME answered first, those of them that another answered last, and
sockets of the other backends that were answered by more than one.
"""

import os
import socket
import sys
import time


def main():
    target = (sys.argv[1], int(sys.argv[2]))
    count, stop_file, name = int(sys.argv[3]), sys.argv[4], sys.argv[5]
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for udp in sockets:
        udp.setblocking(False)
    heard = [[] for _ in sockets]
    is_ready = False
    while not os.path.exists(stop_file):
        for udp in sockets:
            udp.sendto(b"hello", target)
        time.sleep(0.05)
        for udp, backends in zip(sockets, heard):
            try:
                while True:
                    backends.append(udp.recv(2048).split()[0].decode())
            except BlockingIOError:
                pass
        if not is_ready and all(heard):
            is_ready = True
            print("ready", flush=True)
    began = [backends for backends in heard if backends and backends[0] == name]
    left = sum(backends[-1] != name for backends in began)
    others = [backends for backends in heard if backends and backends[0] != name]
    moved = sum(len(set(backends)) > 1 for backends in others)
    print(f"began {len(began)} left {left} moved {moved}")


main()
