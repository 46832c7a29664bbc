"""The design that micring replaces, written anew from its description (contract, section 1): one receiver thread a
microphone, unpack, RMS and base64 around a lock, and an HTTP stream that polls every 16 ms.

    old_server.py receive|serve --core N [--delays] [--fifo]

`receive` is the three threads alone; `serve` adds the stream, on flask where it can be imported, else on http.server with
the same design (the ready line says which). Beyond the original: kernel timestamps are read, so that its delay can be
measured at all, and the stream counts cycles instead of the lengths of bounded buffers, which ended it after 500 packets.
"""

import argparse
import base64
import collections
import json
import logging
import math
import os
import socket
import struct
import sys
import threading
import time

SO_TIMESTAMPNS = 35
STOP = b"end"
KEPT = 500

parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["receive", "serve"])
parser.add_argument("--core", type=int, required=True)
parser.add_argument("--delays", action="store_true")
parser.add_argument("--fifo", action="store_true")
args = parser.parse_args()

lock = threading.Lock()
buffers = [collections.deque(maxlen=KEPT) for _ in range(3)]
counts = [0, 0, 0]
reads = []
received = [0, 0, 0]
wrong = [0, 0, 0]


def receive(mic, sock):
    while True:
        data, control, _, _ = sock.recvmsg(8192, 64)
        now = time.time_ns()
        if data == STOP:
            return
        stamp = 0
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanos = struct.unpack("qq", value[:16])
                stamp = seconds * 1_000_000_000 + nanos
        with lock:
            samples = struct.unpack(f"<{len(data) // 4}i", data)
            rms = math.sqrt(sum(s * s for s in samples) / len(samples))
            packet = {
                "timestamp": time.strftime("%Y-%m-%d %H:%M:%S"),
                "data": base64.b64encode(data).decode("ascii"),
                "rms": rms,
                "arrival_us": stamp // 1000,
                "samples": samples,
            }
            buffers[mic].append(packet)
            counts[mic] += 1
        received[mic] += 1
        if samples[0] >> 28 != mic + 1:
            wrong[mic] += 1
        if args.delays and len(reads) < 30_000:
            reads.append((samples[0] & 0x0FFFFFFF, mic, now - stamp))


def events():
    yield "retry: 1000\n\n"
    with lock:
        sent = min(counts)
    while True:
        batch = []
        with lock:
            ready = min(counts)
            while sent < ready:
                at = [len(buffers[mic]) - (counts[mic] - sent) for mic in range(3)]
                if min(at) >= 0:
                    batch.append((sent, [buffers[mic][at[mic]] for mic in range(3)]))
                sent += 1
        for number, packets in batch:
            length = max(len(packet["samples"]) for packet in packets)
            channels = [list(packet["samples"]) + [0] * (length - len(packet["samples"])) for packet in packets]
            frames = [sample for frame in zip(*channels) for sample in frame]
            event = {
                "device_id": "3ch-assembled",
                "sample_rate": 48000,
                "channels": 3,
                "bits": 32,
                "format": "s32le",
                "timestamp": packets[0]["timestamp"],
                "data": base64.b64encode(struct.pack(f"<{len(frames)}i", *frames)).decode("ascii"),
                "first_frame": number * 512,
                "frames": length,
                "mic_samples": [len(packet["samples"]) for packet in packets],
                "arrival_us": [packet["arrival_us"] for packet in packets],
            }
            yield f"id: {number}\ndata: {json.dumps(event)}\n\n"
        time.sleep(0.016)


def serve_flask(port):
    from flask import Flask, Response

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Flask("old")
    app.add_url_rule("/api/stream_3ch", "stream", lambda: Response(events(), mimetype="text/event-stream"))
    from werkzeug.serving import make_server

    return make_server("127.0.0.1", port, app, threaded=True), "flask"


def serve_plain(port):
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for event in events():
                    self.wfile.write(event.encode())
            except OSError:
                pass

        def log_message(self, *_):
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler), "http.server"


def distribution(values):
    if not values:
        return None
    values = sorted(values)

    def at(p):
        return values[max(math.ceil(p / 100 * len(values)), 1) - 1]

    return {"p50": at(50), "p99": at(99), "p999": at(99.9), "max": at(100), "count": len(values)}


def main():
    os.sched_setaffinity(0, {args.core})
    if args.fifo:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    sockets = []
    for _ in range(3):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, 33, 2 << 20)  # SO_RCVBUFFORCE
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 << 20)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind(("127.0.0.1", 0))
        sockets.append(sock)
    threads = [threading.Thread(target=receive, args=(mic, sock)) for mic, sock in enumerate(sockets)]
    for thread in threads:
        thread.start()
    ready = {"ready": True, "mics": [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]}
    if args.mode == "serve":
        try:
            server, ready["framework"] = serve_flask(0)
        except ImportError:
            server, ready["framework"] = serve_plain(0)
        ready["http"] = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(ready), flush=True)
    for thread in threads:
        thread.join()
    cycles = collections.defaultdict(list)
    for position, _, delay in reads:
        cycles[position].append(delay)
    print(
        json.dumps(
            {
                "received": sum(received),
                "wrong": sum(wrong),
                "delay_us": distribution([delay / 1e3 for _, _, delay in reads]),
                "skew_us": distribution([(max(c) - min(c)) / 1e3 for c in cycles.values() if len(c) == 3]),
            }
        ),
        flush=True,
    )
    sys.stdout.flush()
    os._exit(0)


main()
