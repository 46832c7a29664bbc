"""The experiments of scripts/stress: what each does to the network, and what micring must still show.

Times are seconds from the simulator's start; an impairment acts `during` two of them, so that before and after can be compared.
A check is an expression over what was measured:

  true.lost            datagrams that did not reach the server, by the kernel's and the simulator's own counts
  true.by_network      those of them that the kernel lost, and not the simulator
  true.withheld[m] ... the simulator's result, by microphone: datagrams withheld and duplicated, lost_chunks (nothing of them was
                       sent), lost_pieces (of chunks of which something was)
  told.lost[m] ...     what micring reported at the end: received, lost and lost_pieces, late, duplicate, foreign, kernel_dropped,
                       skipped, incomplete
  told.lost_datagrams  lost chunks and pieces of all microphones, in datagrams
  before, during, after
    .events, .complete what the stream delivered
    .desync            largest misalignment between two microphones of one frame, in samples, against the index signal
    .broken            frames whose samples are not those of their position
    .skew["01"]        median arrival skew of mic 1 against mic 0, in us ("02", "12" likewise)
  drift[m]             (reported ppm, uncertainty, true ppm), None while unknown
"""

from dataclasses import dataclass, field, replace

ALIGNED = "max(before.desync, during.desync, after.desync) == 0"
WHOLE = "before.broken + during.broken + after.broken == 0"
LOSSES = "told.lost_datagrams == true.lost"
PIECES = "true.by_network > 0 or (told.lost == true.lost_chunks and told.lost_pieces == true.lost_pieces)"
ALL_COMPLETE = "told.incomplete == 0 and told.skipped == 0"


@dataclass
class Profile:
    name: str
    about: str
    checks: list
    length: int = 20
    during: tuple = (5, 14)
    sim: list = field(default_factory=list)  # options of `micring simulate`
    impair: list = field(default_factory=list)  # the same, but acting `during` only
    netem: str = ""  # in the place of `impair`, where the kernel has it
    tbf: str = ""
    fragments: float = 0.0  # share of second fragments dropped
    hogs: int = 0  # busy processes on the loop's core
    flood: int = 0  # clients that ask over and over, and as many that never read
    step: float = 0.0  # of the recording's clock, in seconds
    ppm: tuple = (0.0, 0.0, 0.0)
    boards: int = 1
    settled: int = 0  # seconds in which free boards are being learned
    pieces: int = 0  # bytes of a datagram that chunks are cut into; 0: each chunk is one datagram


# A buffer of Arduino's WiFiUDP.
ARDUINO = 1460


def in_pieces(profile, size):
    """The same with chunks in pieces of so many bytes; None where that would be another experiment."""
    if profile.fragments:
        return None
    checks = profile.checks + ([PIECES] if LOSSES in profile.checks else [])
    return replace(profile, name=f"{profile.name}/{size}", sim=[*profile.sim, "--pieces", str(size)], checks=checks, pieces=size)


PROFILES = [
    Profile(
        "quiet",
        "one board, a clean link: what everything else is compared with",
        [ALIGNED, WHOLE, LOSSES, ALL_COMPLETE, "true.lost == 0", "told.not_recorded == 0"],
    ),
    Profile(
        "wifi-good",
        "1 ms of exponential jitter, 0.2 % loss",
        [ALIGNED, WHOLE, LOSSES, "during.events > 0.97 * during.expected"],
        impair=["--delay", "exp1", "--loss", "0.2%"],
        netem="delay 2ms loss 0.2%",
    ),
    Profile(
        "wifi-lossy",
        "Wi-Fi-like stalls and bursts, 3 % loss",
        [ALIGNED, WHOLE, LOSSES, "true.lost > 20", "after.complete == after.events"],
        impair=["--delay", "wifi", "--loss", "3%"],
        netem="delay 3ms loss 3%",
    ),
    Profile(
        "wifi-congested",
        "stalls of 80 ms every second, bursts of loss (Gilbert-Elliott, 3 %, 5 packets)",
        # Which cycle of a backlog lost a packet cannot be known from arrivals: the axis may be off until it is taken back.
        [ALIGNED, "during.broken + after.broken == 0", "abs(told.lost_datagrams - true.lost) <= 0.02 * true.sent", "true.lost > 20"],
        impair=["--hold-back", "80ms/1s", "--jitter", "1ms", "--loss-ge", "3%,5"],
        netem="delay 80ms loss gemodel 1% 20%",
    ),
    Profile(
        "load-ramp",
        "the delay floor climbs by 15 ms in 30 s and falls again: a delay, no loss and no drift",
        [ALIGNED, WHOLE, LOSSES, ALL_COMPLETE, "true.lost == 0"],
        length=45,
        during=(3, 43),
        sim=["--delay", "ramp"],
    ),
    Profile(
        "rate-limited",
        "a link of 8 Mbit/s: the three packets of a cycle queue behind one another, 2.1 ms each",
        [ALIGNED, WHOLE, LOSSES, "true.lost == 0", "1500 < during.skew['01'] < 3000", "after.skew['01'] < 1000"],
        tbf="rate 8mbit burst 1600 latency 300ms",
    ),
    Profile(
        "lagging-mic",
        "three boards; the path of mic 2 becomes 16 ms longer for good: a delay that is waited for, not a loss",
        ["sum(told.lost) == 0", "true.lost == 0", "max(before.desync, during.desync, after.desync) <= 2"],
        length=45,
        during=(25, 42),
        settled=10,
        sim=["--boards", "3", "--lag", "2=16ms@25s.."],
        boards=3,
    ),
    Profile(
        "fragments",
        "2 % of the second fragments are lost (2048 bytes in one datagram are two at MTU 1500): their datagrams are",
        [ALIGNED, WHOLE, LOSSES, "true.lost > 10"],
        fragments=0.02,
    ),
    Profile(
        "duplicate-reorder",
        "2 % of the packets come twice, 1 % are overtaken by up to 5 ms",
        [ALIGNED, WHOLE, "sum(told.duplicate) == sum(true.duplicated)", "sum(told.lost) == 0"],
        impair=["--duplicate", "2%", "--reorder", "1%,5ms"],
    ),
    Profile(
        "free-boards",
        "three boards at +20, -15 and +3 ppm: their drift is told and followed; looked at once it is known",
        ["max(during.desync, after.desync) <= 1.5", "sum(told.lost) == 0",
         "all(d is None or abs(d[0] - d[2]) <= d[1] + 0.5 for d in drift)", "any(d is not None for d in drift)"],
        length=80,
        during=(45, 65),
        settled=30,
        sim=["--boards", "3", "--ppm", "20,-15,3", "--jitter", "200us"],
        ppm=(20.0, -15.0, 3.0),
        boards=3,
    ),
    Profile(
        "reboot",
        "the board reboots and is down for 2 s; it comes back from another port. What it never sent is told as lost: arrivals cannot tell",
        [ALIGNED, "told.sender_changes == 3", "after.events > 0.9 * after.expected", "after.complete >= after.events - 2"],
        during=(6, 9),
        sim=["--reboot", "0@6s/2s"],
    ),
    Profile(
        "clock-step",
        "the host's clock steps by +1 s, in a recording of this run: analyze must see a step, and no gap",
        [ALIGNED, LOSSES, "step.clock_steps == 1", "step.lost == plain.lost", "step.skipped == plain.skipped",
         "abs(step.duration - plain.duration) < 1.1"],
        step=1.0,
    ),
    Profile(
        "http-flood",
        "8 clients ask for diagnostics, metrics and downloads over and over, 40 open streams and read nothing",
        [ALIGNED, WHOLE, LOSSES, "true.lost == 0", ALL_COMPLETE],
        flood=8,
    ),
    Profile(
        "cpu-hogs",
        "two busy processes on the loop's core",
        [ALIGNED, WHOLE, LOSSES, "true.lost == 0", ALL_COMPLETE],
        hogs=2,
    ),
]
