#!/usr/bin/python3
"""Both sides of connections that backends open: many TCP ones to one server, and what UDP clients can find out of a NAT.

  serve                       TCP on :7000, says what it sees and echoes; UDP on two addresses, two ports each
  connect ADDRESS NUMBER      opens so many connections at once, and says how many were made; keeps them until told
  stun                        prints what mapping and filtering the way out has
"""
import selectors
import socket
import sys
import time

ADDRESSES = ("10.0.0.2", "10.0.0.3")
PORTS = (3478, 3479)


def serve():
    chooser = selectors.DefaultSelector()
    listener = socket.create_server(("10.0.0.2", 7000), backlog=4096)
    listener.setblocking(False)
    chooser.register(listener, selectors.EVENT_READ, None)
    datagrams = {}
    for address in ADDRESSES:
        for port in PORTS:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((address, port))
            datagrams[address, port] = udp
            chooser.register(udp, selectors.EVENT_READ, (address, port))
    print("ready", flush=True)
    while True:
        for key, _ in chooser.select():
            if key.fileobj is listener:
                connection, peer = listener.accept()
                connection.setblocking(False)
                connection.sendall(("%s %d\n" % peer).encode())
                chooser.register(connection, selectors.EVENT_READ, "tcp")
            elif key.data == "tcp":
                try:
                    data = key.fileobj.recv(4096)
                    if data:
                        key.fileobj.sendall(data)
                        continue
                except OSError:
                    pass
                chooser.unregister(key.fileobj)
                key.fileobj.close()
            else:
                # "ADDRESS PORT": who is to answer.
                data, peer = key.fileobj.recvfrom(100)
                address, port = data.decode().split()
                said = "%s %d from %s %s" % (peer[0], peer[1], address, port)
                datagrams[address, int(port)].sendto(said.encode(), peer)


def connect(address, number):
    """Prints "made N", then how many distinct endpoints the server saw; and after a line of input, how many still echo."""
    waiting, made, failed = {}, [], 0
    chooser = selectors.DefaultSelector()
    for _ in range(number):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((address, 7000))
        chooser.register(one, selectors.EVENT_READ)
        waiting[one] = True
    endpoints = set()
    until = time.monotonic() + 6
    while waiting and time.monotonic() < until:
        for key, _ in chooser.select(0.2):
            one = key.fileobj
            try:
                endpoints.add(one.recv(100))
                made.append(one)
            except OSError:
                failed += 1
            chooser.unregister(one)
            del waiting[one]
    for one in waiting:
        one.close()
    print("made %d distinct %d" % (len(made), len(endpoints)), flush=True)
    for line in sys.stdin:
        alive = 0
        for one in made:
            try:
                one.setblocking(True)
                one.settimeout(3)
                one.sendall(b"still there?")
                alive += one.recv(100) == b"still there?"
            except OSError:
                pass
        word, asked = line.split()
        print("alive %d asked %s" % (alive, asked), flush=True)
        if word == "end":
            break


def ask(client, server, answerer):
    # Whose neighbour is not known yet loses its first packet.
    for _ in range(3):
        client.sendto(("%s %d" % answerer).encode(), server)
        try:
            data, peer = client.recvfrom(100)
            return data.decode().split()[:2], peer
        except TimeoutError:
            pass
    return None, None


def stun():
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("0.0.0.0", 40000))
    client.settimeout(0.8)
    servers = [(address, port) for address in ADDRESSES for port in PORTS]
    # RFC 5780 section 4.4: who answers that was not asked?
    fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fresh.bind(("0.0.0.0", 40001))
    fresh.settimeout(0.8)
    own, _ = ask(fresh, servers[0], servers[0])
    other_port, _ = ask(fresh, servers[0], servers[1])
    other_address, _ = ask(fresh, servers[0], servers[2])
    filtering = "endpoint-independent"
    if other_address is None:
        filtering = "address-dependent" if other_port else "address-and-port-dependent"
    # Section 4.3.
    seen = [tuple(ask(client, server, server)[0] or ()) for server in servers]
    mapping = "endpoint-independent"
    if seen[0] != seen[2] or seen[1] != seen[3]:
        mapping = "address-dependent" if seen[0] == seen[1] else "address-and-port-dependent"
    elif seen[0] != seen[1]:
        mapping = "port-dependent"
    print("translated %s mapping %s filtering %s" % ("yes" if own and own[0] == "10.0.0.100" else "no", mapping, filtering))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    elif sys.argv[1] == "connect":
        connect(sys.argv[2], int(sys.argv[3]))
    else:
        stun()
