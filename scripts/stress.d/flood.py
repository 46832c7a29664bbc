"""Asks a server over and over, until killed: so many clients that read, and five times as many streams that never do.

usage: flood.py HTTP_ADDRESS CLIENTS
"""

import http.client
import socket
import sys
import threading

TARGETS = ["/api/diagnostics_sync", "/metrics", "/", "/api/download_buffer?seconds=1", "/api/latest", "/nowhere"]


def ask(address):
    while True:
        try:
            connection = http.client.HTTPConnection(address, timeout=5)
            for number in range(200):
                connection.request("GET", TARGETS[number % len(TARGETS)])
                connection.getresponse().read()
            connection.close()
        except OSError:
            pass


def main():
    address, clients = sys.argv[1], int(sys.argv[2])
    host, port = address.split(":")
    idle = []
    for _ in range(5 * clients):
        stream = socket.create_connection((host, int(port)))
        stream.sendall(f"GET /api/stream_3ch HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        idle.append(stream)
    workers = [threading.Thread(target=ask, args=(address,), daemon=True) for _ in range(clients)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
