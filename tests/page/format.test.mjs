import test from "node:test";
import assert from "node:assert/strict";
import { age, bytes, chunk, count, decibels, duration, mics, packetDifference, ppm, samples, share, trend } from "../../src/http/page/format.js";

test("durations have the unit that fits", () => {
  const expected = [
    [0, "0.0 µs"], [3.14, "3.1 µs"], [42.4, "42 µs"], [999.4, "999 µs"], [999.6, "1.00 ms"], [14_200, "14.2 ms"], [-5000, "−5.00 ms"],
    [123_456, "123 ms"], [2_500_000, "2.50 s"], [null, "unknown"], [undefined, "unknown"], [NaN, "unknown"],
  ];
  for (const [us, text] of expected) assert.equal(duration(us), text);
  assert.equal(duration(100, { plus: true }), "+100 µs");
  assert.equal(duration(-0.01, { plus: true }), "0.0 µs");
});

test("rates show as many digits as their uncertainty leaves", () => {
  assert.equal(ppm(12.3456, 0.004), "+12.346 ± 0.004 ppm");
  assert.equal(ppm(-12.3456, 0.4), "−12.35 ± 0.40 ppm");
  assert.equal(ppm(3.21, 7.7), "+3.2 ± 7.7 ppm");
  assert.equal(ppm(null, null), "unknown");
});

test("offsets of channels are told with their interval", () => {
  assert.equal(samples(-0.456, 0.3), "−0.46 ± 0.30 samples");
  assert.equal(samples(null, null), "unknown");
});

test("counts, shares, bytes, ages, levels", () => {
  assert.deepEqual([0, 999, 1000, 1234567].map(count), ["0", "999", "1\u202f000", "1\u202f234\u202f567"]);
  assert.deepEqual([share(0, 10), share(1, 2000), share(3, 100), share(1, 2), share(1, 0)], ["0 %", "0.05 %", "3.0 %", "50 %", "unknown"]);
  assert.deepEqual([512, 8600, 12_500_000, 1e15].map(bytes), ["512 B", "8.6 kB", "12.5 MB", "1000 TB"]);
  assert.deepEqual([8.9, 200, 18_725, 273_900].map(age), ["8 s", "3 min 20 s", "5 h 12 min", "3 d 4 h"]);
  assert.deepEqual([-20, -Infinity, null].map(decibels), ["−20.0 dBFS", "−∞ dBFS", "unknown"]);
});

test("microphones by name, and the old guide's words", () => {
  assert.deepEqual([[1], [0, 2], [0, 1, 2]].map(mics), ["mic 1", "mics 0 and 2", "all microphones"]);
  assert.deepEqual([0, 1, -2, 3, 5, -6].map(packetDifference), ["perfect", "expected", "expected", "minor", "minor", "significant"]);
});

test("how a chunk is cut: a few figures, and unknown while it is not known", () => {
  const cases = [
    [{ samples: 512, pieces: [365, 147] }, "365 + 147"],
    [{ samples: 1024, pieces: [365, 365, 294] }, "2 × 365 + 294"],
    [{ samples: 730, pieces: [365, 365] }, "2 × 365"],
    [{ samples: 512, pieces: [364.5, 147.5] }, "364.5 + 147.5"],
    [{ samples: 512, pieces: [512] }, "512"],
    [{ samples: null, pieces: null, reason: "too few packets heard" }, "unknown"],
    [null, "unknown"],
    [undefined, "unknown"],
  ];
  for (const [cut, text] of cases) assert.equal(chunk(cut), text);
});

test("a trend counts when it is sure and large", () => {
  assert.deepEqual([trend(null), trend(50, 1), trend(900, 1000), trend(900, 100), trend(-2500, 100)], ["trend unknown", "steady", "steady", "trending up, +900 µs a minute", "trending down, −2.50 ms a minute"]);
});
