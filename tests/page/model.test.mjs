// The model, fed as the page feeds it, in virtual time.
import test from "node:test";
import assert from "node:assert/strict";
import { Model } from "../../src/http/page/model.js";
import { cycleEvent, figures } from "./fake.mjs";

const PERIOD_MS = 512 / 48;

/** Runs `seconds` of the stream and the figures into a model; `at(seconds)` says what is wrong then. */
function run(model, seconds, at = () => ({}), from = 0) {
  const first = Math.round((from * 1000) / PERIOD_MS);
  const end = Math.round(((from + seconds) * 1000) / PERIOD_MS);
  let asked = -1;
  for (let id = first; id < end; id++) {
    const now = id * PERIOD_MS;
    const wrong = at(now / 1000);
    if (!wrong.unsent) model.cycle(cycleEvent(id, wrong), id, now);
    if (Math.floor(now / 250) > asked) {
      asked = Math.floor(now / 250);
      model.figures(figures(id, now / 1000, wrong), now);
    }
  }
  return end * PERIOD_MS;
}

test("a healthy stream is healthy", () => {
  const model = new Model();
  assert.equal(model.verdict(0).headline, "Connecting");
  const now = run(model, 12);
  const verdict = model.verdict(now);
  assert.equal(verdict.headline, "Healthy");
  assert.ok(Math.abs(model.skew.median(0, 10, 1) - 200) < 10, "the fake's mic 2 comes 200 µs after mic 0");
  // Three tones with an amplitude of 0.02 to 0.18 of full scale: -37 to -18 dB.
  for (const level of model.levels) assert.ok(level.rmsDb > -38 && level.rmsDb < -17, `${level.rmsDb} dB`);
});

test("another run of the server is no gap: its ids and positions have nothing to do with those before", () => {
  const model = new Model();
  const event = (run, n, positions) => ({ ...cycleEvent(n), first_frame: positions + n * 512, run });
  for (let n = 0; n < 20; n++) model.cycle(event(1_795_345_500_000, n, 0), 1_795_345_500_000 + n, n * PERIOD_MS);
  // It has run for a while when the page finds it, so that positions go on as if some had been lost.
  for (let n = 0; n < 10; n++) model.cycle(event(1_795_345_560_000, n, 40 * 512), 1_795_345_560_000 + n, 700 + n * PERIOD_MS);
  assert.equal(model.own.missed, 0);
  const known = Array.from({ length: 200 }, (_, age) => model.wave.at(age, 0)).filter((i) => i >= 0).length;
  assert.equal(known, 20, "ten cycles of two columns, and nothing of the other run");
  // The figures of both, far apart: more uptime than before is no proof of one run.
  const before = figures(20, 1);
  const after = figures(2000, 21);
  before.server = { ...before.server, run: 1_795_345_500_000 };
  after.server = { ...after.server, run: 1_795_345_560_000 };
  model.figures(before, 1000);
  model.figures(after, 60_000);
  assert.equal(model.own.restarts, 1);
});

test("a lag shows within 2 s, and that it grows when it does", () => {
  const model = new Model();
  let now = run(model, 12);
  now = run(model, 1, () => ({ lag: [0, 0, 14_000] }), 12);
  assert.match(model.verdict(now).headline, /^Mic 2 is 14\.1 ms behind$/);
  const growing = new Model();
  now = run(growing, 20, (s) => ({ lag: [0, 0, Math.max(0, (s - 10) * 1500)] }));
  assert.match(growing.verdict(now).headline, /^Mic 2 is 14\.\d ms behind and getting slower$/);
});

test("boards that run free: neither where their edges lie nor a slip of a period counts, a lag does", () => {
  const free = { clock: "independent" };
  const model = new Model();
  let now = run(model, 10, () => ({ ...free, lag: [0, 7000, 3000] }));
  assert.equal(model.verdict(now).headline, "Healthy");
  now = run(model, 4, () => ({ ...free, lag: [0, 7000 - 10_667, 3000] }), 10);
  assert.equal(model.verdict(now).headline, "Healthy");
  now = run(model, 1, () => ({ ...free, lag: [0, 7000, 3000 + 14_000] }), 14);
  assert.match(model.verdict(now).headline, /^Mic 2 is 14\.0 ms behind/);
});

test("boards that run free: what their clocks drift apart is no lag", () => {
  const model = new Model();
  // Mic 0 is 100 ppm faster: mic 1 comes 100 µs later every second.
  const now = run(model, 125, (s) => ({ clock: "independent", lag: [0, s * 100, 0], ppm: (a, b) => (a === 0 && b === 1 ? 100 : a === 1 ? -100 : 0) }));
  assert.equal(model.verdict(now).headline, "Healthy");
});

test("the alignment of each pair is kept with its interval, and the verdict tells the widest", () => {
  const model = new Model();
  const now = run(model, 12, () => ({ clock: "independent" }));
  // Of the pair 0 and 2: 0.4 samples apart, give or take 0.14.
  assert.ok(Math.abs(model.alignment.mean(0, 2) - 0.4) < 1e-6 && Math.abs(model.alignment.mean(0, 3) - 0.14) < 1e-6);
  assert.match(model.verdict(now).figure, /^Aligned within 0\.5 samples/);
  const kept = model.toJSON(null);
  assert.equal(kept.alignment_samples.mic0_vs_mic1.at(-1).mean, 0.2);
  assert.equal(kept.alignment_uncertainty_samples.mic1_vs_mic2.at(-1).mean, 0.14);
});

test("a loss burst and a silent microphone show", () => {
  const losing = new Model();
  let now = run(losing, 12, (s) => (s < 11 ? {} : { lost: [0, 40, 0], missing: [1] }));
  assert.equal(losing.verdict(now).headline, "Mic 1 is losing packets");
  const silent = new Model();
  now = run(silent, 12.3, (s) => (s < 8.9 ? {} : { silent: [0.004, Math.max(0, s - 8.9), 0.004], missing: [1] }));
  assert.equal(silent.verdict(now).headline, "Mic 1 has been silent for 3 s");
});

test("chunks in pieces: what is received and lost is told in packets and in chunks", () => {
  const model = new Model();
  // Two pieces a chunk; in the last second of mic 1 nothing of 4 chunks came, and one piece less of 6 others.
  const cut = { pieces: [365, 147] };
  const now = run(model, 12, (s) => (s < 11 ? cut : { ...cut, lost: [0, 4, 0], lostPieces: [0, 6, 0] }));
  const told = model.facts(now);
  assert.deepEqual([told.pieces, told.lost10, told.lostPieces10], [[2, 2, 2], [0, 4, 0], [0, 6, 0]]);
  const chunks = told.received10[0] / 2;
  assert.deepEqual(told.received10, [2 * chunks, 2 * (chunks - 4) - 6, 2 * chunks], "packets are datagrams");
  assert.deepEqual(told.chunks10, [chunks, chunks - 4, chunks]);
  assert.equal(told.expected10, 6 * chunks, "packets that should have come");
  assert.deepEqual(told.losing, [false, true, false]);
  assert.match(model.verdict(now).headline, /^Mic 1 is losing packets|^Mic 1 lost 4 chunks and 6 pieces/);
  assert.equal(model.toJSON(null).packets_age_s_and_count.mic1.lost_pieces.reduce((sum, [, n]) => sum + n, 0), 6);
});

test("a server that says nothing of pieces sends whole packets", () => {
  const model = new Model();
  for (let now = 0; now < 3000; now += 250) {
    const old = figures(Math.floor(now / PERIOD_MS), now / 1000);
    delete old.server.chunk;
    for (const loss of Object.values(old.loss)) delete loss.lost_pieces;
    model.figures(old, now);
  }
  const told = model.facts(2750);
  assert.deepEqual([told.pieces, told.lostPieces10, told.chunks10], [[1, 1, 1], [0, 0, 0], told.received10]);
});

test("events that did not reach the page are counted by their id", () => {
  const model = new Model();
  const now = run(model, 5, (s) => ({ unsent: s > 3 && s < 4 }));
  assert.ok(Math.abs(model.own.missed - 93) <= 2, `${model.own.missed} of a second's 93.75`);
  assert.equal(model.verdict(now).kind, "slow_page");
});

test("another run of the server: its counters start anew, and nothing is taken for a loss", () => {
  const model = new Model();
  run(model, 5, () => ({ lost: [7, 7, 7] }));
  assert.equal(model.own.restarts, 0);
  for (let id = 0; id < 300; id++) {
    const now = 6000 + id * PERIOD_MS;
    model.cycle(cycleEvent(id), id, now);
    if (id % 24 === 0) model.figures(figures(id, id * 0.0107), now);
  }
  assert.deepEqual([model.own.restarts, model.own.missed], [1, 0]);
  assert.equal(model.verdict(6000 + 300 * PERIOD_MS).headline, "Healthy");
});

test("a page that asks late does not take its own lateness for silence", () => {
  const model = new Model();
  const now = run(model, 12);
  assert.equal(model.verdict(now + 1500).headline, "Healthy");
});

test("no answer for 2 s is said, whatever was before", () => {
  const model = new Model();
  const now = run(model, 3);
  assert.equal(model.verdict(now + 5000).headline, "The server does not answer");
});

test("bad events are counted, and harm nothing", () => {
  const model = new Model();
  const good = cycleEvent(1);
  for (const bad of [{}, { ...good, data: "????" }, { ...good, frames: 511 }, { ...good, mic_samples: null }]) assert.equal(model.cycle(bad, 1, 0), null);
  assert.deepEqual([model.own.undecodable, model.own.events], [4, 0]);
  assert.notEqual(model.cycle(good, 1, 0), null);
});

test("a copy stands still while the model goes on; the export has what is on screen", () => {
  const model = new Model();
  const now = run(model, 4);
  const copy = model.copy();
  const verdict = model.verdict(now);
  const before = JSON.stringify(copy.toJSON(verdict));
  const later = run(model, 4, () => ({ lag: [0, 9000, 0] }), 4);
  assert.equal(JSON.stringify(copy.toJSON(verdict)), before);
  const body = JSON.parse(before);
  assert.equal(body.verdict.headline, "Healthy");
  assert.match(copy.toJSON(model.verdict(later)).verdict.headline, /^Mic 1 is 8\.90 ms behind$/, "the live one's, not that nothing came since the copy");
  assert.ok(body.pair_skew_us.mic0_vs_mic1.length >= 38, "4 s of steps of 100 ms");
  assert.equal(body.waveform_min_max_missing.mics.length, 3);
});

test("an hour of events leaves the model as large as a minute of them", () => {
  const model = new Model();
  const bodies = Array.from({ length: 94 }, (_, id) => cycleEvent(id));
  const hour = Math.round(3_600_000 / PERIOD_MS);
  const sizes = () => Object.values(model).flatMap((value) => (value && typeof value === "object" ? Object.values(value) : [])).filter(ArrayBuffer.isView).map((array) => array.byteLength);
  const before = sizes();
  assert.ok(before.length > 20);
  let early = 0;
  for (let id = 0; id < hour; id++) {
    const now = id * PERIOD_MS;
    model.cycle({ ...bodies[id % 94], first_frame: id * 512 }, id, now);
    if (id % 24 === 0) model.figures(figures(id, now / 1000), now);
    if (id === 6000) {
      globalThis.gc?.();
      early = process.memoryUsage().heapUsed;
    }
  }
  globalThis.gc?.();
  const late = process.memoryUsage().heapUsed;
  console.log(`heap after a minute ${(early / 1e6).toFixed(2)} MB, after an hour ${(late / 1e6).toFixed(2)} MB${globalThis.gc ? "" : " (not collected: run with --expose-gc)"}`);
  assert.deepEqual(sizes(), before);
  assert.equal(model.own.events, hour);
  if (globalThis.gc) assert.ok(late - early < 1e6, "less than 1 MB, and that is the engine's own");
});

test("losses that cannot be told are none, also when they can be told again", () => {
  const model = new Model();
  let now = run(model, 4, () => ({ lost: [0, 0, 0] }));
  now = run(model, 2, () => ({ lost: [null, null, null] }), 4);
  now = run(model, 2, () => ({ lost: [90, 90, 90] }), 6);
  assert.deepEqual(model.facts(now).lost10, [0, 0, 0]);
});
