"""A VBAN sender, written from VB-Audio's specification: PORT SECONDS; 16 bits, one channel, 48 kHz."""
import socket
import struct
import sys
import time

port, seconds = int(sys.argv[1]), float(sys.argv[2])
FRAMES, RATE = 256, 48_000
SAMPLE_RATE_INDEX, PCM_INT16 = 3, 1
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
begin = time.monotonic()
for number in range(int(seconds * RATE / FRAMES)):
    header = struct.pack("<4sBBBB16sI", b"VBAN", SAMPLE_RATE_INDEX, FRAMES - 1, 0, PCM_INT16, b"Stream1", number)
    first = number * FRAMES
    samples = [0x4000 | (first + i) & 0x3FFF for i in range(FRAMES)]
    time.sleep(max(0, begin + (first + FRAMES) / RATE - time.monotonic()))
    out.sendto(header + struct.pack(f"<{FRAMES}h", *samples), ("127.0.0.1", port))
