// The verdict, from figures made by hand.
import test from "node:test";
import assert from "node:assert/strict";
import { Calm, direction, furthest, judge, news } from "../../src/http/page/verdict.js";

/** A healthy board. */
function facts(changes = {}) {
  return {
    connected: true, refusal: null, offlineS: 0.1, everConnected: true, stalledS: 0, uptimeS: 100, clock: "shared", holdUs: 40_000,
    silentS: [0.005, 0.005, 0.005], never: [false, false, false], received10: [937, 937, 937], lost10: [0, 0, 0], losing: [false, false, false],
    pieces: [1, 1, 1], lostPieces10: [0, 0, 0], chunks10: [937, 937, 937], late10: [0, 0, 0], dropped10: [0, 0, 0], expected10: 2811, missed10: 0, bad10: { malformed: 0, truncated: 0, foreign: 0, duplicate: 0 },
    spreadUs: 210, offsets: { mic: 2, us: 210, trend: "steady" }, drifts: [null, null, null], loopP99Us: 80, ...changes,
  };
}

test("a healthy board is healthy, and the figures say why", () => {
  const verdict = judge(facts());
  assert.deepEqual([verdict.level, verdict.headline], ["good", "Healthy"]);
  assert.match(verdict.figure, /within 210 µs .* None of 2\u202f811 packets was lost/);
});

test("where it cannot be told what a microphone loses, nothing says that nothing was lost", () => {
  const verdict = judge(facts({ lossUnknown: [null, "arrivals cannot number its packets", null] }));
  assert.match(verdict.figure, /What mic 1 loses is unknown: arrivals cannot number its packets\.$/);
  assert.doesNotMatch(verdict.figure, /None of/);
});

test("a microphone that falls behind, and goes on falling", () => {
  const verdict = judge(facts({ offsets: { mic: 2, us: 14_000, trend: "slower" } }));
  assert.deepEqual([verdict.level, verdict.kind, verdict.headline], ["warn", "lag", "Mic 2 is 14.0 ms behind and getting slower"]);
  assert.equal(judge(facts({ offsets: { mic: 0, us: -9000, trend: "slower" } })).headline, "Mic 0 is 9.00 ms ahead and slowing down");
  assert.equal(judge(facts({ offsets: { mic: 1, us: 50_000, trend: "steady" } })).level, "bad", "beyond the hold");
  assert.equal(judge(facts({ offsets: { mic: 1, us: 3500, trend: "steady" } })).level, "note", "beyond one board's usual");
  assert.equal(judge(facts({ offsets: { mic: 1, us: 3500, trend: "steady" }, clock: "independent" })).kind, "healthy");
});

test("a silent microphone, and that its packets are missing is not told twice", () => {
  const verdict = judge(facts({ silentS: [0.01, 3.2, 0.01], lost10: [0, 280, 0], losing: [false, true, false] }));
  assert.deepEqual([verdict.level, verdict.headline], ["bad", "Mic 1 has been silent for 3 s"]);
  assert.match(verdict.figure, /Last packet 3\.2 s ago; the other channels go on/);
  assert.deepEqual(verdict.others, []);
  assert.doesNotMatch(judge(facts({ silentS: [3, 3, 3] })).figure, /other channels/);
});

test("nothing has come yet, or nothing from one", () => {
  assert.equal(judge(facts({ silentS: [null, null, null], never: [true, true, true] })).kind, "waiting");
  assert.equal(judge(facts({ silentS: [0.01, 0.01, null], never: [false, false, true] })).headline, "Mic 2 was never heard");
});

test("losses by their size, in the tense that fits", () => {
  const one = judge(facts({ lost10: [0, 0, 1], losing: [false, false, true], received10: [937, 937, 936], chunks10: [937, 937, 936] }));
  assert.deepEqual([one.level, one.headline], ["note", "Mic 2 lost 1 packet"]);
  const burst = judge(facts({ lost10: [0, 30, 0], losing: [false, true, false], received10: [937, 907, 937], chunks10: [937, 907, 937] }));
  assert.deepEqual([burst.level, burst.headline], ["warn", "Mic 1 is losing packets"]);
  assert.match(burst.figure, /30 of 937 \(3\.2 %\)/);
  const over = judge(facts({ lost10: [20, 20, 20], received10: [917, 917, 917], chunks10: [917, 917, 917] }));
  assert.equal(over.headline, "All microphones lost 20 packets each");
  assert.match(over.figure, /^20 of 937 \(2\.1 %\) of each lost/);
});

test("of chunks that are cut, lost pieces are told beside lost chunks", () => {
  // 937 chunks of two pieces: of 3 nothing came, of 12 one piece each is missing.
  const cut = { pieces: [2, 2, 2], received10: [1874, 1856, 1874], chunks10: [937, 934, 937] };
  const both = judge(facts({ ...cut, lost10: [0, 3, 0], lostPieces10: [0, 12, 0] }));
  assert.deepEqual([both.kind, both.level, both.headline], ["loss", "warn", "Mic 1 lost 3 chunks and 12 pieces"]);
  assert.match(both.figure, /^3 of 937 chunks \(0\.3 %\) and 12 of 1\u202f868 pieces \(0\.6 %\) lost in the last 10 s/);
  const one = judge(facts({ ...cut, received10: [1874, 1873, 1874], chunks10: [937, 937, 937], lostPieces10: [0, 1, 0] }));
  assert.deepEqual([one.level, one.headline], ["note", "Mic 1 lost 1 piece"]);
  assert.match(one.normal, /360 samples a chunk leave as one packet/);
  assert.match(one.figure, /^1 of 1\u202f874 pieces \(0\.05 %\) lost/);
  const whole = judge(facts({ ...cut, received10: [1874, 1872, 1874], chunks10: [937, 936, 937], lost10: [0, 1, 0] }));
  assert.equal(whole.headline, "Mic 1 lost 1 chunk");
  assert.match(whole.figure, /^1 of 937 chunks \(0\.1 %\) lost/);
  const losing = judge(facts({ ...cut, lostPieces10: [0, 40, 0], received10: [1874, 1834, 1874], losing: [false, true, false] }));
  assert.deepEqual([losing.level, losing.headline], ["warn", "Mic 1 is losing packets"]);
  const two = judge(facts({ ...cut, lost10: [0, 0, 3], lostPieces10: [0, 4, 12], received10: [1874, 1870, 1856], chunks10: [937, 937, 934] }));
  assert.match(two.figure, /^mic 1 4 of 1\u202f874 pieces \(0\.2 %\), mic 2 3 of 937 chunks/);
  const all = judge(facts({ ...cut, lost10: [1, 1, 1], lostPieces10: [9, 9, 9], received10: [1863, 1863, 1863], chunks10: [936, 936, 936] }));
  assert.equal(all.headline, "All microphones lost 1 chunk and 9 pieces each");
  assert.match(all.figure, /^1 of 937 chunks \(0\.1 %\) and 9 of 1\u202f872 pieces \(0\.5 %\) of each lost/);
});

test("late is told of chunks, whatever they are cut into", () => {
  const late = judge(facts({ pieces: [2, 2, 2], received10: [1874, 1874, 1874], chunks10: [937, 937, 937], late10: [0, 5, 0] }));
  assert.match(late.figure, /^5 of 937 /);
});

test("the worst comes first, the rest is listed", () => {
  const verdict = judge(facts({ offsets: { mic: 2, us: 6000, trend: "steady" }, dropped10: [0, 0, 4], bad10: { malformed: 2, truncated: 0, foreign: 7, duplicate: 0 } }));
  assert.equal(verdict.kind, "kernel_dropped");
  assert.deepEqual(verdict.others.map((text) => text.split(":")[0]), ["Mic 2 is 6.00 ms behind", "Some input is ignored"]);
  assert.match(verdict.others[1], /2 malformed, 7 from another sender/);
});

test("free boards say how well they are aligned, one board needs not", () => {
  const free = judge(facts({ clock: "independent", apartSamples: 0.84 }));
  assert.match(free.figure, /^Aligned within 0\.8 samples\. /);
  assert.doesNotMatch(judge(facts({ clock: "independent", apartSamples: null })).figure, /Aligned/);
  assert.doesNotMatch(judge(facts({ clock: "shared", apartSamples: 0 })).figure, /Aligned/);
});

test("late packets, drifting clocks, a late loop, a slow page, a stopped stream", () => {
  assert.equal(judge(facts({ late10: [0, 400, 0], received10: [937, 537, 937], chunks10: [937, 537, 937] })).level, "bad");
  assert.equal(judge(facts({ drifts: [{ ppm: 150, uncertainty: 2 }, null, null] })).kind, "drift");
  assert.equal(judge(facts({ drifts: [{ ppm: 150, uncertainty: 60 }, null, null] })).kind, "healthy", "not sure enough");
  assert.equal(judge(facts({ loopP99Us: 9000 })).kind, "loop");
  assert.equal(judge(facts({ missed10: 12 })).kind, "slow_page");
  assert.equal(judge(facts({ stalledS: 4 })).kind, "stalled");
});

test("what is wrong with the microphones themselves is named, the worst first", () => {
  const fault = (name) => ({ fault: name, since: 1, evidence: `what shows ${name}`, next_step: `what mends ${name}` });
  const rate = { ...fault("wrong_rate"), evidence: "sends 44 100 samples a second, not 48 000", next_step: "--sample-rate 44100" };
  const wrong = judge(facts({ faults: [[rate], [rate, fault("clipping")], []] }));
  assert.deepEqual([wrong.level, wrong.kind, wrong.mics], ["bad", "wrong_rate", [0, 1]]);
  assert.match(wrong.headline, /^Mics 0 and 1 sample at another rate/);
  assert.match(wrong.figure, /44 100 samples a second, not 48 000.*--sample-rate 44100/);
  assert.match(wrong.others[0], /^Mic 1 clips/);
  const of = (name, mic) => judge(facts({ faults: [0, 1, 2].map((own) => (own === mic ? [fault(name)] : [])) }));
  assert.match(of("dead", 1).headline, /^Mic 1 is dead/);
  assert.match(of("same_as_mic0", 2).headline, /^Mic 2 is a copy/);
  assert.match(of("header_in_audio", 0).headline, /^Mic 0 sends a header/);
  assert.match(of("half_empty", 2).headline, /^Mic 2 is half empty/);
  assert.match(of("shifted_words", 2).headline, /^Mic 2 sends its samples shifted/);
  assert.match(of("stuck_bits", 0).headline, /^Mic 0 has bits that never move/);
  assert.match(of("offset", 1).headline, /^Mic 1 has an offset/);
  assert.match(of("refused", 0).headline, /^Mic 0 has two senders/);
  assert.match(of("dead", 1).figure, /what shows dead.*what mends dead/);
});

test("no server, and a server that refuses", () => {
  assert.equal(judge({ connected: false, refusal: null, offlineS: 7.3, everConnected: true }).headline, "The server does not answer");
  assert.equal(judge({ connected: false, refusal: null, offlineS: Infinity, everConnected: false }).headline, "Connecting");
  assert.equal(judge({ connected: false, refusal: "a token is needed", offlineS: 1, everConnected: false }).kind, "refused");
});

test("the one that stands apart is found against the middle of three", () => {
  assert.deepEqual(furthest([0, 100, 14_200]), { mic: 2, us: 14_100 });
  assert.deepEqual(furthest([0, -9000, -8900]), { mic: 0, us: 8900 });
  assert.deepEqual(furthest([0, null, -7000]), { mic: 2, us: -7000 });
  assert.equal(furthest([null, 0, null]), null);
});

test("a jump is no trend, wherever it falls; a ramp is", () => {
  const medianOf = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
  const stretches = (series) => [series.slice(0, 20), series.slice(20, 40), series.slice(40), series.slice(40, 50), series.slice(50)].map(medianOf);
  for (let at = 0; at <= 60; at++) {
    const series = Array.from({ length: 60 }, (_, step) => (step < at ? 0 : 14_000));
    assert.equal(direction(stretches(series), 300), "steady", `jump at step ${at}`);
  }
  assert.equal(direction(stretches(Array.from({ length: 60 }, (_, step) => step * 50)), 300), "slower");
  assert.equal(direction(stretches(Array.from({ length: 60 }, (_, step) => step * -50)), 300), "faster");
  assert.equal(direction([null, 1, 2, 3, 4], 0), "steady");
});

test("news is another kind, another level or another microphone, and no other second or figure", () => {
  const told = [
    {},
    { silentS: [0.01, 3.2, 0.01] },
    { silentS: [0.01, 3.2, 2.1] },
    { never: [false, false, true] },
    { never: [false, true, true] },
    { lost10: [0, 0, 9], received10: [937, 937, 928] },
    { lost10: [0, 0, 400], received10: [937, 937, 537] },
    { lost10: [0, 400, 0], received10: [937, 537, 937], chunks10: [937, 537, 937] },
    { dropped10: [0, 0, 4] },
    { dropped10: [4, 0, 4] },
    { late10: [3, 0, 0] },
    { late10: [0, 3, 0] },
    { offsets: { mic: 2, us: 14_000, trend: "steady" } },
    { offsets: { mic: 1, us: 14_000, trend: "steady" } },
    { offsets: { mic: 1, us: 200, trend: "slower" } },
    { offsets: { mic: 2, us: 200, trend: "slower" } },
    { drifts: [{ ppm: 150, uncertainty: 2 }, null, null] },
    { drifts: [null, { ppm: 150, uncertainty: 2 }, null] },
  ].map((changes) => news(judge(facts(changes))));
  assert.deepEqual([...new Set(told)], told);
  const silent = (s) => news(judge(facts({ silentS: [0.01, s, 0.01] })));
  assert.equal(silent(3.2), silent(64));
  const lag = (us) => news(judge(facts({ offsets: { mic: 2, us, trend: "steady" } })));
  assert.equal(lag(14_000), lag(15_000));
});

test("worse news shows at once, better news when it has lasted", () => {
  const calm = new Calm();
  const [good, warn, bad] = ["good", "warn", "bad"].map((level) => ({ level }));
  const shown = [[0, good], [100, warn], [200, good], [300, bad], [400, warn], [1700, good], [1801, good], [1900, good]].map(([now, verdict]) => calm.show(verdict, now).level);
  assert.deepEqual(shown, ["good", "warn", "warn", "bad", "bad", "bad", "good", "good"]);
});
