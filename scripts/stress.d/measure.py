"""One experiment: starts server, observer and simulator, impairs the network for a while, and puts truth beside what was told."""

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from rig import run, sleep_until, stop

PAIRS = ("01", "02", "12")
CHUNK = 512
PERIOD = CHUNK / 48_000
PORTS = "30001,30002,30003"
NANOSECONDS = 1_000_000_000
WIDE = "tbf rate 1gbit burst 100kb latency 300ms"


def experiment(rig, profile, seed):
    """Runs the profile; returns everything that the report needs."""
    with tempfile.TemporaryDirectory(prefix="micring-stress-") as folder:
        server, ready = rig.serve("--record", folder, "--record-snap", "64")
        observer = rig.python(
            "observe.py", ready["http"], ",".join(map(str, profile.ppm)), str(profile.boards),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        os.sched_setaffinity(observer.pid, {0})
        time.sleep(0.7)
        by_netem = bool(profile.netem and rig.has["netem"])
        if profile.tbf:
            # There from the start, and wide: adding or removing a queue drops what is on its way.
            rig.qdisc(WIDE)
        delivered = rig.udp_delivered()
        begin = time.monotonic()
        sim = simulator(rig, profile, seed, by_netem)
        from_, to = profile.during
        sleep_until(begin + from_)
        relieve = impair(rig, profile, ready, by_netem)
        sleep_until(begin + to)
        relieve()
        truth = json.loads(sim.communicate(timeout=profile.length + 30)[0])
        time.sleep(0.6)
        if profile.tbf:
            rig.no_qdisc()
        delivered = rig.udp_delivered() - delivered
        seen = json.loads(observer.communicate("", timeout=20)[0])
        said = stop(server)[1]
        found = values(profile, truth, seen, delivered, begin)
        if profile.step:
            found.update(stepped(rig, Path(folder), profile.step))
    return result(profile, found, truth, seen, begin, said, how(rig, profile, by_netem))


def simulator(rig, profile, seed, by_netem):
    options = ["--mic-ports", PORTS, "--duration", f"{profile.length}s", "--seed", str(seed), *profile.sim]
    if profile.impair and not by_netem:
        options += ["--impaired", "{}s..{}s".format(*profile.during), *profile.impair]
    return rig.simulate(*options, boards=profile.boards)


def impair(rig, profile, ready, by_netem):
    """Makes the network or the host worse; returns what makes it good again."""
    helpers = []
    if profile.tbf:
        rig.qdisc(f"tbf {profile.tbf}")
    if by_netem:
        rig.qdisc(f"netem {profile.netem}")
    if profile.fragments:
        rig.drop_fragments(profile.fragments)
    for _ in range(profile.hogs):
        hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        os.sched_setaffinity(hog.pid, {ready["core"]})
        rig.children.append(hog)
        helpers.append(hog)
    if profile.flood:
        flood = rig.python("flood.py", ready["http"], str(profile.flood), stderr=subprocess.DEVNULL)
        os.sched_setaffinity(flood.pid, {0})
        helpers.append(flood)

    def relieve():
        for helper in helpers:
            helper.kill()
            helper.wait()
        if profile.tbf:
            rig.qdisc(WIDE)
        if by_netem:
            rig.no_qdisc()
        if profile.fragments:
            rig.keep_fragments()

    return relieve


def how(rig, profile, by_netem):
    """By what the impairment was made."""
    if by_netem:
        return f"netem {profile.netem}"
    parts = [part for part in (
        profile.tbf and f"tbf {profile.tbf}",
        profile.fragments and "nftables in the server's namespace",
        profile.hogs and "processes pinned to the loop's core",
        profile.flood and "HTTP clients in the server's namespace",
        profile.step and "the recording's stamps, rewritten",
    ) if part]
    if profile.impair or profile.sim:
        parts.append("simulate " + " ".join(profile.sim + profile.impair))
    return ", ".join(parts) or "nothing"


def values(profile, truth, seen, delivered, begin):
    """What checks can name."""
    mics, last = truth["mics"], seen["last"]
    loss = [last["loss"][f"mic{mic}"] for mic in range(3)]
    sent, withheld, duplicated, lost_chunks, lost_pieces = (
        [mic[key] for mic in mics] for key in ("sent", "withheld", "duplicated", "lost_chunks", "lost_pieces")
    )
    by_network = sum(sent) + sum(duplicated) - delivered
    true = SimpleNamespace(
        sent=sum(sent), withheld=withheld, duplicated=duplicated, delivered=delivered, by_network=by_network,
        lost_chunks=lost_chunks, lost_pieces=lost_pieces, lost=by_network + sum(withheld),
    )
    a_chunk = -(-4 * CHUNK // profile.pieces) if profile.pieces else 1
    pieces = [mic.get("lost_pieces", 0) for mic in loss]
    told = SimpleNamespace(
        received=last["packet_stats"]["packets_received"],
        not_recorded=sum(last["recording"]["not_recorded"]),
        skipped=last["cycles"]["skipped"],
        incomplete=last["cycles"]["incomplete"],
        lost_pieces=pieces,
        lost_datagrams=a_chunk * sum(mic["lost"] for mic in loss) + sum(pieces),
        sender_changes=sum(mic["sender_changes"] for mic in loss),
        **{key: [mic[key] for mic in loss] for key in ("lost", "late", "duplicate", "foreign", "kernel_dropped")},
    )
    phases = phases_of(profile, seen["cycles"], begin)
    drift = []
    for mic in range(3):
        figure = last["clock_drift_ppm"][f"mic{mic}"]
        known = figure["ppm"] is not None
        drift.append((figure["ppm"], figure["uncertainty_ppm"], mics[mic]["mean_ppm"]) if known else None)
    return {"true": true, "told": told, "drift": drift, **phases}


def phases_of(profile, cycles, begin):
    """Before, during and after."""
    from_, to = (begin + at for at in profile.during)
    settled = begin + profile.settled
    bounds = {"before": (settled, from_), "during": (from_, to), "after": (to, float("inf"))}
    baseline = [0.0] * 3
    if profile.boards == 3:
        # Absolute offsets cannot be known one way: what counts is that they stay.
        for pair in range(3):
            apart = [c[2][pair] for c in cycles if settled <= c[0] < from_ and c[2] and c[2][pair] is not None]
            baseline[pair] = statistics.median(apart) if apart else 0.0
    for cycle in cycles:
        if cycle[2]:
            cycle[2] = [None if apart is None else apart - base for apart, base in zip(cycle[2], baseline)]
    phases = {}
    for name, (start, end) in bounds.items():
        mine = [c for c in cycles if start <= c[0] < end]
        apart = [abs(value) for c in mine if c[2] for value in c[2] if value is not None]
        skews = [[c[1][pair] for c in mine if c[1][pair] is not None] for pair in range(3)]
        span = min(end, begin + profile.length) - start
        phases[name] = SimpleNamespace(
            events=len(mine),
            expected=span / PERIOD,
            complete=sum(c[4] for c in mine),
            broken=sum(c[3] for c in mine),
            desync=max(apart, default=0.0),
            skew={pair: statistics.median(skew) if skew else None for pair, skew in zip(PAIRS, skews)},
            skew_p99={pair: quantile(skew, 0.99) for pair, skew in zip(PAIRS, skews)},
        )
    return phases


def quantile(values_, q):
    return sorted(values_)[min(len(values_) - 1, int(q * len(values_)))] if values_ else None


def result(profile, found, truth, seen, begin, said, made_by):
    checks = []
    for text in profile.checks:
        try:
            checks.append({"check": text, "held": bool(eval(text, {}, found))})
        except Exception as error:  # a figure that is not there is a failure, told as such
            checks.append({"check": text, "held": False, "error": str(error)})
    plain = {name: vars(value) if isinstance(value, SimpleNamespace) else value for name, value in found.items()}
    return {
        "name": profile.name, "about": profile.about, "made_by": made_by, "during": profile.during, "length": profile.length,
        "passed": all(check["held"] for check in checks), "checks": checks, "found": plain, "simulator": truth,
        "cycles": [[cycle[0] - begin, *cycle[1:]] for cycle in seen["cycles"]],
        "looks": [[at - begin, look] for at, look in seen["looks"]],
        "said": said,
    }


def stepped(rig, folder, seconds):
    """`analyze` of the recording as it is, and as it would be had the clock stepped in its middle."""
    file = sorted(folder.glob("*.pcapng"))[0]
    copy = folder / "stepped"
    copy.write_bytes(step_recording(file.read_bytes(), round(seconds * NANOSECONDS)))
    found = {}
    for name, path in (("plain", file), ("step", copy)):
        body = json.loads(run(rig.binary, "analyze", "--json", str(path)).stdout)
        found[name] = SimpleNamespace(
            clock_steps=body["clock_steps"],
            lost=[body["loss"][f"mic{mic}"]["lost"] for mic in range(3)],
            skipped=body["cycles"]["skipped"],
            duration=body["recording"]["duration_s"],
        )
    return found


def step_recording(data, step):
    """A pcapng file of serve whose clock steps by so many nanoseconds after half of its packets."""
    packet, statistics_, out, at = 6, 5, bytearray(), 0
    blocks = []
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        blocks.append((kind, bytearray(data[at : at + length])))
        at += length
    half, packets = sum(kind == packet for kind, _ in blocks) // 2, 0
    for kind, block in blocks:
        packets += kind == packet
        if kind in (packet, statistics_) and packets > half:
            high, low = struct.unpack_from("<II", block, 12)
            stamp = (high << 32 | low) + step
            if kind == packet and packets == half + 1:
                # Interface statistics of mic 0 with a comment, as the recorder tells a step.
                comment = f"clock step {step:+} ns".encode()
                body = struct.pack("<III", 0, stamp >> 32, stamp & 0xFFFFFFFF) + struct.pack("<HH", 1, len(comment))
                body += comment + bytes(-len(comment) % 4) + bytes(4)
                length = len(body) + 12
                out += struct.pack("<II", statistics_, length) + body + struct.pack("<I", length)
                packets += 1
            struct.pack_into("<II", block, 12, stamp >> 32, stamp & 0xFFFFFFFF)
        out += block
    return bytes(out)
