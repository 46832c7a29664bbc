// What the calibrate button tells.

import test from "node:test";
import assert from "node:assert/strict";
import { calibrate } from "../../src/http/page/calibrate.js";

test("an answer that does not come is asked for again: the server listens all the same", async () => {
  const answers = [
    { state: "listening", claps: 1, ends_in_s: 5 },
    null,
    { state: "listening", claps: 2, ends_in_s: 4 },
    { state: "done", mics: { mic1: { moved_samples: 1, uncertainty_samples: 0.5 } } },
  ];
  const asked = [];
  const ask = async (method) => {
    const answer = answers[asked.push(method) - 1];
    if (answer === null) throw new TypeError("Failed to fetch");
    return answer;
  };
  const told = [];
  await calibrate(ask, (text) => told.push(text));
  assert.deepEqual(asked, ["POST", "GET", "GET", "GET"]);
  assert.match(told[2], /2 claps heard, 4 s left/);
  assert.equal(told.at(-1), "mic 1: 1.0 \u00b1 0.5 samples");
});

test("a begin that is not answered is told", async () => {
  const ask = async () => {
    throw new TypeError("Failed to fetch");
  };
  await assert.rejects(calibrate(ask, () => {}), /Failed to fetch/);
});
