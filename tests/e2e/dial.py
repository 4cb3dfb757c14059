"""HTTP clients that go on while a server dies: `dial.py ADDRESS PORT KEPT STOP_FILE`.

One makes a new connection for each request, as fast as they are answered; KEPT others keep theirs, and ask every 20 ms.
The answer begins with the server's name. Prints "ready" when all kept ones are open, and when STOP_FILE exists
"new N failed N last MS", MS the time of the last failure in milliseconds of the epoch, or 0, and "kept NAME N broken N".
"""

import collections
import os
import socket
import sys
import threading
import time

TARGET = (sys.argv[1], int(sys.argv[2]))
KEPT, STOP_FILE = int(sys.argv[3]), sys.argv[4]


def ask(tcp, more=b""):
    tcp.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n")
    head, _, body = tcp.recv(4096).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise OSError("no answer")
    return body.split()[0].decode()


def make_anew(told):
    while not os.path.exists(STOP_FILE):
        told["new"] += 1
        began = time.time()
        try:
            with socket.create_connection(TARGET, timeout=1) as tcp:
                ask(tcp, b"Connection: close\r\n")
        except OSError:
            told["failed"] += 1
            # When it was sent to the dead one, not when that was found out.
            told["last"] = int(began * 1000)


def main():
    kept = [socket.create_connection(TARGET, timeout=2) for _ in range(KEPT)]
    names = [ask(tcp) for tcp in kept]
    told = collections.Counter(new=0, failed=0, last=0)
    dialler = threading.Thread(target=make_anew, args=(told,))
    dialler.start()
    print("ready", flush=True)
    broken = set()
    while not os.path.exists(STOP_FILE):
        for number, tcp in enumerate(kept):
            if number in broken:
                continue
            try:
                if ask(tcp) != names[number]:
                    broken.add(number)
            except OSError:
                broken.add(number)
        time.sleep(0.02)
    dialler.join()
    print(f"new {told['new']} failed {told['failed']} last {told['last']}")
    for name in sorted(set(names)):
        own = [number for number, other in enumerate(names) if other == name]
        print(f"kept {name} {len(own)} broken {len(broken.intersection(own))}")


main()
