// Samples and histograms, against Node's own base64 and figures made by hand.
import test from "node:test";
import assert from "node:assert/strict";
import { SampleDecoder, histograms } from "../../src/http/page/decode.js";

function base64(samples) {
  const bytes = Buffer.alloc(samples.length * 4);
  samples.forEach((sample, i) => bytes.writeInt32LE(sample, i * 4));
  return bytes.toString("base64");
}

test("samples of every length come back, extremes included", () => {
  const decoder = new SampleDecoder();
  let state = 20261123; // The seed: a linear congruential generator (Numerical Recipes).
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) | 0);
  for (const length of [0, 1, 2, 3, 4, 5, 1536, 4095, 49128, 7]) {
    const samples = Array.from({ length }, (_, i) => (i % 5 === 0 ? -2147483648 : i % 7 === 0 ? 2147483647 : random()));
    assert.deepEqual([...decoder.decode(base64(samples))], samples, `${length} samples`);
  }
});

test("what is no base64 of whole samples gives null", () => {
  const decoder = new SampleDecoder();
  const good = base64([1, 2, 3]);
  for (const bad of [undefined, 7, "abc", good.slice(1), `${good.slice(0, -1)}*`, `${good.slice(0, -1)}\u00e9`, "AAAA", `A=${good.slice(2)}`, "=".repeat(16), "A".repeat(1 << 23)]) {
    assert.equal(decoder.decode(bad), null, String(bad).slice(0, 40));
  }
  assert.deepEqual([...decoder.decode(good)], [1, 2, 3], "and the next one is whole");
});

test("a buffer that serves again gives the newest samples alone", () => {
  const decoder = new SampleDecoder();
  decoder.decode(base64(new Array(100).fill(-1)));
  assert.deepEqual([...decoder.decode(base64([5]))], [5]);
});

test("histograms: bounds ascend, counts are those of each bucket alone", () => {
  const text = [
    "# TYPE micring_loop_delay_seconds histogram",
    'micring_loop_delay_seconds_bucket{mic="0",le="0.00001"} 3',
    'micring_loop_delay_seconds_bucket{mic="0",le="0.001"} 10',
    'micring_loop_delay_seconds_bucket{mic="0",le="+Inf"} 11',
    'micring_loop_delay_seconds_count{mic="0"} 11',
    'micring_loop_skew_seconds_bucket{le="0.1"} 4',
    'micring_loop_skew_seconds_bucket{le="+Inf"} 4',
    'other_seconds_bucket{le="+Inf"} 9',
  ].join("\n");
  const found = histograms(text, ["micring_loop_delay_seconds", "micring_loop_skew_seconds"]);
  assert.deepEqual([...found.keys()], ['micring_loop_delay_seconds{mic="0"}', "micring_loop_skew_seconds"]);
  assert.deepEqual(found.get('micring_loop_delay_seconds{mic="0"}').counts, [3, 7, 1]);
  assert.deepEqual(found.get('micring_loop_delay_seconds{mic="0"}').le, [1e-5, 1e-3, Infinity]);
  assert.deepEqual(found.get("micring_loop_skew_seconds").counts, [4, 0]);
});
