"""Opens a stream and never reads it, until standard input ends.

usage: mute.py HTTP_ADDRESS
"""

import socket
import sys

host, port = sys.argv[1].split(":")
stream = socket.create_connection((host, int(port)))
stream.sendall(f"GET /api/stream_3ch HTTP/1.1\r\nHost: {sys.argv[1]}\r\n\r\n".encode())
sys.stdin.read()
