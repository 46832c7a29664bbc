"""Listens to a running server until standard input ends: every cycle of its stream, and its diagnostics twice a second.

Prints one JSON object: for each cycle when it came, its skew, how far its microphones are apart against the index signal; and
each look at the diagnostics. With PERIOD it prints one object a period instead, and forgets. Standalone: it runs inside the
server's network namespace.

usage: observe.py HTTP_ADDRESS PPM0,PPM1,PPM2 BOARDS [PERIOD_S]
"""

import base64
import http.client
import json
import sys
import threading
import time
from array import array

POSITION = (1 << 28) - 1


def look(address, target="/api/diagnostics_sync"):
    connection = http.client.HTTPConnection(address, timeout=5)
    connection.request("GET", target)
    answer = json.load(connection.getresponse())
    connection.close()
    return answer


def cycle(event, ppm, free):
    """When, skews in us, desync in samples (None: unknown), frames that are not those of their position, complete."""
    samples = array("i", base64.b64decode(event["data"]))
    frames, given, arrival = event["frames"], event["mic_samples"], event["arrival_us"]
    captured, broken = [None] * 3, 0
    for mic in range(3):
        channel = samples[mic::3]
        if not given[mic]:
            continue
        # What is missing is zeros: behind a short chunk, or where a piece of it was lost. A sample of the signal never is.
        begin = next(at for at, sample in enumerate(channel) if sample)
        first = channel[begin] - begin
        wrong = channel[begin] >> 28 != mic + 1
        # Free boards slip by a sample now and then: that is how their drift is followed.
        # The signal begins anew after 2^28 samples.
        wraps = (first & POSITION) + len(channel) > POSITION
        whole = array("i", range(first, first + len(channel)))
        steady = free or wraps or channel == whole or all(a == b for a, b in zip(channel, whole) if a)
        broken += given[mic] if wrong or not steady else 0
        captured[mic] = (first & POSITION) / (1 + ppm[mic] * 1e-6)
    known = [c for c in captured if c is not None]
    skew = [None if arrival[a] is None or arrival[b] is None else arrival[b] - arrival[a] for a, b in ((0, 1), (0, 2), (1, 2))]
    apart = [None if captured[a] is None or captured[b] is None else captured[b] - captured[a] for a, b in ((0, 1), (0, 2), (1, 2))]
    return [time.monotonic(), skew, apart if len(known) > 1 else None, broken, given == [frames] * 3]


def follow(address, ppm, free, cycles, stopping):
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/api/stream_3ch")
    stream = connection.getresponse()
    while not stopping.is_set():
        line = stream.readline()
        if not line:
            return
        if line.startswith(b"data: "):
            cycles.append(cycle(json.loads(line[6:]), ppm, free))


def main():
    address = sys.argv[1]
    ppm = [float(value) for value in sys.argv[2].split(",")]
    cycles, looks, stopping = [], [], threading.Event()
    free = sys.argv[3] == "3"
    follower = threading.Thread(target=follow, args=(address, ppm, free, cycles, stopping), daemon=True)
    follower.start()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    if len(sys.argv) > 4:
        return watch(address, float(sys.argv[4]), cycles, ended)
    while not ended.wait(0.5):
        looks.append([time.monotonic(), look(address)])
    stopping.set()
    looks.append([time.monotonic(), look(address)])
    json.dump({"cycles": cycles, "looks": [[at, brief(body)] for at, body in looks], "last": looks[-1][1]}, sys.stdout)


def watch(address, period, cycles, ended):
    """One line a period, and one at the end."""
    going = True
    while going:
        going = not ended.wait(period)
        count = len(cycles)
        seen, cycles[:count] = cycles[:count], []
        apart = [abs(value) for _, _, pairs, _, _ in seen if pairs for value in pairs if value is not None]
        line = {
            "at": time.monotonic(), "cycles": count, "broken": sum(c[3] for c in seen), "desync": max(apart, default=0),
            "misaligned": sum(any(pairs or ()) for _, _, pairs, _, _ in seen), "incomplete": sum(not c[4] for c in seen), "told": look(address),
        }
        print(json.dumps(line), flush=True)


def brief(body):
    """What changes from look to look."""
    return {
        "loss": body["loss"],
        "cycles": body["cycles"],
        "window_skew": {pair: figures["p50"] for pair, figures in body["window"]["arrival_skew_us"].items()},
        "loop_delay_p99": body["window"]["loop_delay_us"]["mic0"]["p99"],
        "emit_delay_p99": body["window"]["emit_delay_us"]["p99"],
    }


if __name__ == "__main__":
    main()
