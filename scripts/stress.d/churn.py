"""Subscribers that come and go until standard input ends: so many at a time, each reads one of the three live streams for one to ten
seconds and leaves, one in three by a reset. Then prints one JSON object: how many came, by kind, how many left by reset, and
how many were not given the stream that they asked for. Standalone: it runs inside the server's network namespace.

usage: churn.py HTTP_ADDRESS CLIENTS SEED
"""

import json
import random
import socket
import struct
import sys
import threading
import time

# What each stream's body begins with; the binary one with the length of its first event, which is below 64 KiB.
KINDS = {
    "sse": ("/api/stream_3ch", lambda body: body.startswith(b"retry: ")),
    "wav": ("/api/stream_3ch.wav", lambda body: body.startswith(b"RIFF")),
    "binary": ("/api/stream_3ch?format=binary", lambda body: 0 < int.from_bytes(body[:4], "little") < 1 << 16),
}
# SO_LINGER on, for no time: close() sends a reset (socket(7)).
RESET = struct.pack("ii", 1, 0)


def visit(address, path, seconds, reset):
    """The first bytes of what came within so many seconds."""
    head, end = b"", time.monotonic() + seconds
    with socket.create_connection(address, timeout=5) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n".encode())
        while time.monotonic() < end:
            piece = client.recv(65536)
            if not piece:
                break
            head = head if len(head) > 4096 else head + piece
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return head


def come_and_go(address, seed, counts, ended):
    rng = random.Random(seed)
    while not ended.wait(rng.uniform(0.05, 1.0)):
        kind, reset = rng.choice(sorted(KINDS)), rng.random() < 1 / 3
        path, right = KINDS[kind]
        try:
            status, _, body = visit(address, path, rng.uniform(1.0, 10.0), reset).partition(b"\r\n\r\n")
            counts["bad"] += not (status.startswith(b"HTTP/1.1 200 ") and right(body))
        except OSError:
            counts["bad"] += 1
        counts[kind] += 1
        counts["reset"] += reset


def main():
    host, port = sys.argv[1].split(":")
    clients, seed = int(sys.argv[2]), int(sys.argv[3])
    ended = threading.Event()
    counts = [dict.fromkeys([*KINDS, "reset", "bad"], 0) for _ in range(clients)]
    workers = [threading.Thread(target=come_and_go, args=((host, int(port)), seed * clients + n, counts[n], ended)) for n in range(clients)]
    for worker in workers:
        worker.start()
    sys.stdin.read()
    ended.set()
    for worker in workers:
        worker.join()
    print(json.dumps({key: sum(count[key] for count in counts) for key in counts[0]}))


if __name__ == "__main__":
    main()
