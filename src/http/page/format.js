// Figures for people: the unit always with the number, as many digits as mean something, and "unknown" where nothing is known.

/** Channels of the array that is shown. */
export let MICS = 3;
/** Pairs in the order of the diagnostics: skew is the second minus the first, drift the first minus the second. */
export let PAIRS = pairsOf(MICS);
export let PAIR_KEYS = keysOf(PAIRS);

/** Of an array of so many channels; before the modules begin that are made for them. */
export function arrange(channels) {
  MICS = channels;
  PAIRS = pairsOf(channels);
  PAIR_KEYS = keysOf(PAIRS);
}

/** Of up to four channels each against each; of more, each against the first. */
function pairsOf(channels) {
  const all = Array.from({ length: channels }, (_, a) => Array.from({ length: channels - a - 1 }, (_, k) => [a, a + 1 + k])).flat();
  return channels <= 4 ? all : all.filter(([a]) => a === 0);
}

function keysOf(pairs) {
  return pairs.map(([a, b]) => `mic${a}_vs_mic${b}`);
}

export const UNKNOWN_TEXT = "unknown";
const MINUS = "\u2212";

function signed(text, value, plus) {
  return (value < 0 ? MINUS : plus && value > 0 ? "+" : "") + text;
}

/** Microseconds as µs, ms or s. */
export function duration(us, { plus = false } = {}) {
  if (us === null || us === undefined || !Number.isFinite(us)) return UNKNOWN_TEXT;
  const size = Math.abs(us);
  const [scaled, unit] = size < 999.5 ? [size, "µs"] : size < 999_500 ? [size / 1e3, "ms"] : [size / 1e6, "s"];
  const digits = scaled < 9.95 && unit !== "µs" ? 2 : scaled < 99.95 ? 1 : 0;
  const text = unit === "µs" && scaled >= 9.95 ? scaled.toFixed(0) : scaled.toFixed(digits);
  return `${signed(text, Number(text) === 0 ? 0 : us, plus)} ${unit}`;
}

/** Parts in a million, with the half-width of the interval where there is one. */
export function ppm(value, uncertainty) {
  if (value === null || value === undefined) return UNKNOWN_TEXT;
  const digits = uncertainty === undefined || uncertainty === null ? 2 : uncertainty < 0.05 ? 3 : uncertainty < 0.5 ? 2 : 1;
  const text = signed(Math.abs(value).toFixed(digits), value, true);
  return uncertainty === undefined || uncertainty === null ? `${text} ppm` : `${text} ± ${uncertainty.toFixed(digits)} ppm`;
}

/** An offset between channels in samples, with the half-width of its 95 % interval. */
export function samples(value, uncertainty) {
  if (value === null || value === undefined) return UNKNOWN_TEXT;
  return `${signed(Math.abs(value).toFixed(2), value, true)} ± ${uncertainty.toFixed(2)} samples`;
}

/** Decibels below full scale. */
export function decibels(db) {
  if (db === null || db === undefined) return UNKNOWN_TEXT;
  if (db < -150) return `${MINUS}\u221e dBFS`;
  return `${signed(Math.abs(db).toFixed(1), db, false)} dBFS`;
}

/** Whole numbers, thousands apart. */
export function count(n) {
  return n === null || n === undefined ? UNKNOWN_TEXT : String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function bytes(n) {
  if (n === null || n === undefined) return UNKNOWN_TEXT;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 999.5 && unit < units.length - 1) {
    n /= 1000;
    unit += 1;
  }
  return `${unit === 0 || n >= 99.5 ? n.toFixed(0) : n.toFixed(1)} ${units[unit]}`;
}

/** How a source cuts its chunks, in samples: "365 + 147", "2 × 365 + 294", "360". */
export function chunk(cut) {
  const pieces = cut?.pieces;
  if (!pieces) return UNKNOWN_TEXT;
  const runs = [];
  for (const size of pieces) {
    if (runs.at(-1)?.size === size) runs.at(-1).times += 1;
    else runs.push({ size, times: 1 });
  }
  return runs.map(({ size, times }) => `${times > 1 ? `${times} × ` : ""}${Number(size.toFixed(2))}`).join(" + ");
}

/** A share as per cent. */
export function share(part, whole) {
  if (!(whole > 0)) return UNKNOWN_TEXT;
  const percent = (100 * part) / whole;
  return `${percent === 0 ? "0" : percent < 0.1 ? percent.toFixed(2) : percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}

/** Seconds as people say them: 8 s, 3 min 20 s, 5 h 12 min, 3 d 4 h. */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN_TEXT;
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** "mic 1", "mics 0 and 2", "all microphones". */
export function mics(list) {
  if (list.length === MICS && MICS > 1) return "all microphones";
  return list.length === 1 ? `mic ${list[0]}` : `mics ${list.join(" and ")}`;
}

/** The old guide's word for a difference of buffered packets. */
export function packetDifference(n) {
  const size = Math.abs(n);
  return size === 0 ? "perfect" : size <= 2 ? "expected" : size <= 5 ? "minor" : "significant";
}

/** A change in microseconds a minute, with the half-width of its 95 % interval, in words: below a packet's spread it is steady. */
export function trend(usPerMinute, uncertainty) {
  if (usPerMinute === null || usPerMinute === undefined) return "trend unknown";
  const sure = Math.abs(usPerMinute) > (uncertainty ?? 0) && Math.abs(usPerMinute) >= 100;
  return sure ? `trending ${usPerMinute > 0 ? "up" : "down"}, ${duration(usPerMinute, { plus: true })} a minute` : "steady";
}
