// How each array is, in a word and a level, and which is worst. Pure: no DOM, no clock.

import { count } from "./format.js";
import { LEVELS } from "./verdict.js";

/** How an array is, from what `/api/arrays` tells of it. */
export function judged({ health, loss, level_dbfs: level, silent_s: silent }) {
  if (silent === null) return { level: "warn", text: "waiting: no packet has come yet" };
  if (!health.ok) return { level: "bad", text: health.reason };
  if (loss.reason !== null) return { level: "note", text: `what it loses is unknown: ${loss.reason}` };
  if (loss.lost > 0) return { level: "warn", text: `${count(loss.lost)} packets lost in the last 10 s` };
  if (level === null) return { level: "note", text: "digital silence" };
  return { level: "good", text: "healthy" };
}

/** From the worst to the best; of equals the order of the server. */
export function ranked(arrays) {
  const all = arrays.map((array) => ({ array, verdict: judged(array) }));
  return all.sort((a, b) => LEVELS.indexOf(b.verdict.level) - LEVELS.indexOf(a.verdict.level) || lostShare(b.array) - lostShare(a.array));
}

function lostShare({ loss: { lost, of } }) {
  return lost === null || of === 0 ? 0 : lost / of;
}
