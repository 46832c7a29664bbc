// What the pictures are drawn from.
import test from "node:test";
import assert from "node:assert/strict";
import { Buckets, HEARD, Level, MISSING, Wave } from "../../src/http/page/series.js";

test("a step has the smallest, the largest and the mean of its values", () => {
  const buckets = new Buckets(100, 10, 2);
  for (const [time, value] of [[1000, 5], [1050, -1], [1099, 2], [1100, 7]]) buckets.add(time, 1, value);
  const old = buckets.at(1, 1);
  assert.deepEqual([buckets.min[old], buckets.max[old], buckets.mean(1, 1)], [-1, 5, 2]);
  assert.equal(buckets.mean(0, 1), 7);
  assert.equal(buckets.mean(0, 0), null, "the other lane has nothing");
  assert.equal(buckets.mean(2, 1), null, "nor has the time before");
});

test("values out of order find their step, values too old or no numbers are left out", () => {
  const buckets = new Buckets(100, 10, 1);
  buckets.add(2000, 0, 1);
  buckets.add(1500, 0, 3);
  buckets.add(1000, 0, 4);
  buckets.add(2000, 0, NaN);
  assert.equal(buckets.mean(5, 0), 3);
  assert.equal(buckets.mean(0, 0), 1);
  assert.equal(buckets.total(10, 0), 4);
});

test("what is older than the length is forgotten, however far time jumps", () => {
  const buckets = new Buckets(100, 4, 1);
  for (let k = 0; k < 100; k++) buckets.add(k * 100, 0, k);
  assert.deepEqual([3, 2, 1, 0].map((age) => buckets.mean(age, 0)), [96, 97, 98, 99]);
  buckets.advance(10_100);
  assert.deepEqual([3, 2, 1, 0].map((age) => buckets.mean(age, 0)), [98, 99, null, null]);
  buckets.advance(1e9);
  assert.deepEqual([3, 2, 1, 0].map((age) => buckets.mean(age, 0)), [null, null, null, null]);
});

test("the median is that of the steps that have values, if there are enough", () => {
  const buckets = new Buckets(100, 10, 1);
  [9, 1, 4].forEach((value, k) => buckets.add(k * 200, 0, value));
  assert.equal(buckets.median(0, 10, 0), 4);
  assert.equal(buckets.median(0, 4, 0), 2.5);
  assert.equal(buckets.median(0, 10, 0, 4), null);
});

/** Frames `from` up to `to` of one microphone whose sample is its position times `scale`. */
function ramp(from, to, scale) {
  return Int32Array.from({ length: to - from }, (_, i) => (from + i) * scale);
}

test("columns of a waveform follow positions, across cycles that end inside a column", () => {
  const wave = new Wave(1, 4, 10, 16);
  const scale = 2 ** 20;
  wave.add(0, ramp(0, 7, scale), [7]);
  wave.add(7, ramp(7, 25, scale), [18]);
  const column = (age) => [wave.min, wave.max].map((of) => (of[wave.at(age, 0)] * 2 ** 31) / scale);
  assert.deepEqual([column(2), column(1), column(0)], [[0, 9], [10, 19], [20, 24]]);
  assert.equal(wave.at(3, 0), -1);
  assert.equal((wave.sample(0, 0) * 2 ** 31) / scale, 24);
  assert.equal((wave.sample(10, 0) * 2 ** 31) / scale, 14);
});

test("what a microphone did not send, and what no cycle brought, is missing, not silent", () => {
  const wave = new Wave(2, 8, 10, 16);
  const both = (frames) => new Int32Array(frames * 2).fill(2 ** 30);
  wave.add(0, both(10), [10, 10]);
  wave.add(10, both(10), [10, 4]);
  wave.add(30, both(10), [10, 10]);
  const states = (mic) => [3, 2, 1, 0].map((age) => wave.state[wave.at(age, mic)]);
  assert.deepEqual(states(0), [HEARD, HEARD, MISSING, HEARD]);
  assert.deepEqual(states(1), [HEARD, MISSING, MISSING, HEARD]);
});

test("positions that start anew, or jump far, start the waveform anew", () => {
  const wave = new Wave(1, 4, 10, 16);
  wave.add(1000, ramp(0, 10, 1), [10]);
  wave.add(0, ramp(0, 10, 1), [10]);
  assert.equal(wave.end, 10);
  assert.equal(wave.at(1, 0), -1);
  wave.add(1e12, ramp(0, 10, 1), [10]);
  assert.equal(wave.end, 1e12 + 10);
  assert.equal(wave.at(1, 0), -1);
});

test("a level settles at the true one, and the peak is held for a while", () => {
  const level = new Level();
  assert.equal(level.rmsDb, null);
  let now = 0;
  for (let k = 0; k < 94; k++) level.add(0.01, 0.2, 512 / 48000, (now += 10.67));
  assert.ok(Math.abs(level.rmsDb + 20) < 1e-9, "10 log 0.01");
  level.miss(now + 400);
  assert.notEqual(level.rmsDb, null);
  level.add(0.01, 0.9, 512 / 48000, now);
  level.add(0.01, 0.2, 512 / 48000, now + 1400);
  assert.ok(Math.abs(level.peakDb - 20 * Math.log10(0.9)) < 1e-9);
  level.add(0.01, 0.2, 512 / 48000, now + 1600);
  assert.ok(Math.abs(level.peakDb - 20 * Math.log10(0.2)) < 1e-9);
  level.miss(now + 2200);
  assert.equal(level.rmsDb, null, "what is not heard has no level");
});

test("a picture widens as values come", () => {
  const buckets = new Buckets(100, 100, 1);
  assert.equal(buckets.span(), 25);
  // The first value is at step 1000: up to 25, 50, 100 steps are known at steps 1024, 1049, 1099.
  const spans = [1000, 1024, 1025, 1049, 1050, 1099, 6000].map((step) => (buckets.add(step * 100, 0, 1), buckets.span()));
  assert.deepEqual(spans, [25, 25, 50, 50, 100, 100, 100]);
});
