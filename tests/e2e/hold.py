"""Holds connections to a line echo server: `hold.py ADDRESS PORT CONNECTIONS STOP_FILE`.

Sends a line over each every 100 ms until STOP_FILE exists. Prints "ready", and at the end
"held N rounds N broken N moved N": broken are connections that failed, answered wrongly or not within 10 s; moved are
those whose answers came from more than one backend.
"""

import os
import socket
import sys
import time


def main():
    target = (sys.argv[1], int(sys.argv[2]))
    count, stop_file = int(sys.argv[3]), sys.argv[4]
    held = []
    for _ in range(count):
        tcp = socket.create_connection(target, timeout=10)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held.append((tcp, tcp.makefile("rb")))
    backends = [set() for _ in held]
    broken = {}
    rounds = 0
    print("ready", flush=True)
    while not os.path.exists(stop_file):
        began = time.monotonic()
        for number, (tcp, _) in enumerate(held):
            try:
                tcp.sendall(f"{number} {rounds}\n".encode())
            except OSError as error:
                broken.setdefault(number, f"round {rounds}: {error}")
        for number, (_, lines) in enumerate(held):
            if number in broken:
                continue
            try:
                backend, said = lines.readline().decode().rstrip("\n").split(" ", 1)
                backends[number].add(backend)
                if said != f"{number} {rounds}":
                    broken[number] = f"round {rounds}: answered {said!r}"
            except (OSError, ValueError) as error:
                broken.setdefault(number, f"round {rounds}: {error}")
        rounds += 1
        time.sleep(max(0, began + 0.1 - time.monotonic()))
    for number, why in list(broken.items())[:5]:
        print(f"connection {number}: {why}", file=sys.stderr)
    moved = sum(len(names) > 1 for names in backends)
    print(f"held {count} rounds {rounds} broken {len(broken)} moved {moved}")


main()
