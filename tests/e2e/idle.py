"""Holds silent connections to a line echo server: `idle.py ADDRESS PORT CONNECTIONS SECONDS [SOURCE]`.

Sends one line over each, prints "ready", and says nothing more. After SECONDS, or once all have ended, prints for each
backend "NAME held N reset N closed N", the latter two by how they ended.
"""

import collections
import selectors
import socket
import sys
import time


def main():
    target, count, seconds = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3]), float(sys.argv[4])
    source = (sys.argv[5], 0) if len(sys.argv) > 5 else None
    waiting = selectors.DefaultSelector()
    held, ends = collections.Counter(), collections.Counter()
    for number in range(count):
        tcp = socket.create_connection(target, timeout=10, source_address=source)
        tcp.sendall(f"{number}\n".encode())
        name = tcp.recv(100).decode().split(" ")[0]
        held[name] += 1
        waiting.register(tcp, selectors.EVENT_READ, name)
    print("ready", flush=True)
    until = time.monotonic() + seconds
    while waiting.get_map() and time.monotonic() < until:
        for key, _ in waiting.select(0.1):
            try:
                how = "closed" if key.fileobj.recv(100) == b"" else "answered"
            except ConnectionResetError:
                how = "reset"
            ends[key.data, how] += 1
            waiting.unregister(key.fileobj)
    for name in sorted(held):
        print(f"{name} held {held[name]} reset {ends[name, 'reset']} closed {ends[name, 'closed']}")


main()
