"""The servers of one backend: `servers.py NAME`.

HTTP on port 8000, of IPv6 too: GET says the name; PUT answers with the SHA-256 of what it was sent.
TCP on port 5300: answers each line with the name and the line.
UDP on port 5300: answers with the name, the client's address as seen here, and what it was sent; without a checksum
where the datagram begins with "nocheck".
"""

import hashlib
import http.server
import socket
import socketserver
import sys
import threading

NAME = sys.argv[1]
SO_NO_CHECK = 11


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(NAME)

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        while left:
            part = self.rfile.read(min(left, 1 << 16))
            if not part:
                return
            digest.update(part)
            left -= len(part)
        self.answer(digest.hexdigest())

    def log_message(self, *_):
        pass


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for line in self.rfile:
                self.wfile.write(f"{NAME} ".encode() + line)
        except ConnectionError:
            pass


class ManyTcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


class EitherHttp(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    request_queue_size = 1024

    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def echo_datagrams(family):
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.bind(("", 5300))
        while True:
            data, client = udp.recvfrom(65536)
            udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, int(data.startswith(b"nocheck")))
            udp.sendto(f"{NAME} {client[0]}:{client[1]} ".encode() + data, client)


def main():
    threading.Thread(target=echo_datagrams, args=(socket.AF_INET,), daemon=True).start()
    if socket.has_ipv6:
        threading.Thread(target=echo_datagrams, args=(socket.AF_INET6,), daemon=True).start()
    threading.Thread(target=ManyTcp(("", 5300), Echo).serve_forever, daemon=True).start()
    EitherHttp(("", 8000), Http).serve_forever()


main()
