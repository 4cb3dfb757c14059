"""Sends datagrams to an echo server and says what came back: `udp_client.py ADDRESS PORT SOCKETS EACH [nocheck]`.

Prints "sent N answered N wrong_sender N wrong_client N moved N backends N". `wrong_sender` counts answers from
elsewhere than ADDRESS and PORT, `wrong_client` those whose server saw another client than this one, `moved` those from
another backend than the first that this socket was answered by.
"""

import socket
import sys

SO_NO_CHECK = 11


def main():
    target = (sys.argv[1], int(sys.argv[2]))
    sockets, each = int(sys.argv[3]), int(sys.argv[4])
    word = sys.argv[5] if len(sys.argv) > 5 else "plain"
    sent = answered = wrong_sender = wrong_client = moved = 0
    backends = set()
    for i in range(sockets):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("10.0.0.2", 0))
            udp.settimeout(3)
            udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, int(word == "nocheck"))
            me = "%s:%d" % udp.getsockname()
            first = None
            for j in range(each):
                # Odd and even lengths, from a few bytes to a full frame: the checksum's odd byte matters.
                text = f"{word} {i} {j} " + "x" * ((i * each + j) * 7 % 1400)
                udp.sendto(text.encode(), target)
                sent += 1
                try:
                    data, sender = udp.recvfrom(65536)
                except TimeoutError:
                    continue
                backend, client, echoed = data.decode().split(" ", 2)
                first = first or backend
                backends.add(backend)
                answered += echoed == text
                wrong_sender += sender != target
                wrong_client += client != me
                moved += backend != first
    print(
        f"sent {sent} answered {answered} wrong_sender {wrong_sender} "
        f"wrong_client {wrong_client} moved {moved} backends {len(backends)}"
    )


main()
