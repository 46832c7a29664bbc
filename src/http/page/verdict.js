// One sentence that says how things are, with the figure behind it and what is normal.
//
// The figures come from two sides: the stream itself (94 times a second, so a lag shows within a second) and the server's
// counters (4 times a second). Everything that is wrong is found and ordered; the worst is the headline. Pure: no DOM, no clock.

import { MICS, PAIRS, count, duration, mics, share } from "./format.js";

/** The old guide's limit for an offset between microphones. */
export const OFFSET_LIMIT_US = 5000;
/** One board sends the packets of a cycle within 0.3 ms: more than this is worth a word. */
export const OFFSET_USUAL_US = 1000;
/** Silence of a microphone that counts, in seconds: what `/healthz` says too. */
export const SILENT_S = 1;
/** Rates further apart than two ordinary crystals can be (±50 ppm each), in ppm. */
export const DRIFT_LIMIT_PPM = 100;
/** A loop that reads packets this late delays audio, in microseconds: half the time between packets. */
export const LOOP_LIMIT_US = 5333;

/** Better news waits so long. */
const BETTER_MS = 1500;

/** From best to worst. */
export const LEVELS = ["good", "note", "warn", "bad"];

/**
 * @param facts what the model knows: see `Model.facts`
 * @returns {{level: string, kind: string, mics?: number[], headline: string, figure: string, normal: string, others: string[]}}
 */
export function judge(facts) {
  const found = [
    connection(facts),
    ...(facts.connected ? [silence(facts), ...faults(facts), kernelDrops(facts), loss(facts), lag(facts), lateness(facts)] : []),
    ...(facts.connected ? [drift(facts), badInput(facts), loop(facts), slowPage(facts)] : []),
  ].filter(Boolean);
  if (found.length === 0) return healthy(facts);
  // A stable sort: of equally bad findings the order above counts.
  found.sort((a, b) => LEVELS.indexOf(b.level) - LEVELS.indexOf(a.level));
  return { ...found[0], others: found.slice(1).map((finding) => `${finding.headline}: ${finding.figure}`) };
}

/** Equal for verdicts that say the same of the same microphones, whatever their figures: what is worth hearing once. */
export function news({ kind, level, mics = [] }) {
  return `${kind} ${level} ${mics.join()}`;
}

/** Keeps the headline from flickering: worse news shows at once, better news when it has lasted. */
export class Calm {
  #shown = null;
  #seen = -Infinity;

  /** What to show at `now`, in milliseconds, when `verdict` is true. */
  show(verdict, now) {
    const better = this.#shown !== null && LEVELS.indexOf(verdict.level) < LEVELS.indexOf(this.#shown.level);
    if (better && now - this.#seen < BETTER_MS) return this.#shown;
    this.#shown = verdict;
    this.#seen = now;
    return verdict;
  }
}

function healthy({ spreadUs, expected10, clock, apartSamples = null, lossUnknown = [] }) {
  const unknown = lossUnknown.findIndex((reason) => reason !== null);
  const lost = unknown < 0 ? `None of ${count(expected10)} packets was lost in the last 10 s.` : `What mic ${unknown} loses is unknown: ${lossUnknown[unknown]}.`;
  const free = clock === "independent";
  const aligned = !free || apartSamples === null ? "" : `Aligned within ${apartSamples.toFixed(1)} samples. `;
  const within = spreadUs === null ? "" : `Packets of a cycle arrive within ${duration(spreadUs)} of each other${free ? ", steadily" : ""}. `;
  return {
    level: "good",
    kind: "healthy",
    headline: "Healthy",
    figure: `${aligned}${within}${lost}`,
    normal: free ? "Normal: steady (boards of their own send at any moment of a period), and nothing lost." : "Normal: within 1 ms for one board, and nothing lost.",
    others: [],
  };
}

function connection({ connected, refusal, offlineS, everConnected, stalledS }) {
  if (refusal) {
    const finding = { level: "bad", kind: "refused", headline: "The server refuses this page", figure: refusal };
    return { ...finding, normal: "Open the page with ?token=TOKEN where a token is set." };
  }
  if (!connected) {
    return {
      level: "bad",
      kind: "offline",
      headline: everConnected ? "The server does not answer" : "Connecting",
      figure: everConnected ? `Nothing for ${Math.floor(offlineS)} s; trying again every second.` : "Asking the server for its figures.",
      normal: "The page goes on by itself when the server is back.",
    };
  }
  if (stalledS > 2.5) {
    return {
      level: "warn",
      kind: "stalled",
      headline: "The server answers, but its stream has stopped",
      figure: `No event for ${stalledS.toFixed(0)} s; opening the stream again.`,
      normal: "Normal: 94 events a second.",
    };
  }
  return null;
}

function silence({ silentS, never, uptimeS }) {
  const gone = silentS.flatMap((s, mic) => (s !== null && s >= SILENT_S ? [mic] : []));
  // A microphone that was never heard since the start counts as soon as the others have had a second.
  const absent = never.flatMap((is, mic) => (is && uptimeS >= SILENT_S ? [mic] : []));
  const normal = "Normal: a packet every 10.7 ms from each.";
  if (absent.length === MICS) {
    return { level: "warn", kind: "waiting", headline: "Waiting for the microphones", figure: "No packet has come yet.", normal };
  }
  if (gone.length > 0) {
    const longest = Math.max(...gone.map((mic) => silentS[mic]));
    const has = gone.length === 1 ? "has" : "have";
    const seconds = longest < 60 ? `${Math.floor(longest)} s` : `${Math.floor(longest / 60)} min`;
    return {
      level: "bad",
      kind: "silent",
      mics: gone,
      headline: `${capital(mics(gone))} ${has} been silent for ${seconds}`,
      figure: `Last packet ${longest.toFixed(1)} s ago; the other channels go on.`.replace(
        gone.length === MICS ? "; the other channels go on" : "",
        "",
      ),
      normal,
    };
  }
  if (absent.length > 0) {
    const was = absent.length === 1 ? "was" : "were";
    const figure = `No packet since the server started ${Math.floor(uptimeS)} s ago; the other channels go on.`;
    return { level: "bad", kind: "absent", mics: absent, headline: `${capital(mics(absent))} ${was} never heard`, figure, normal };
  }
  return null;
}

/** What the server found wrong with the microphones themselves, from worst to best. */
const FAULTS = {
  wrong_rate: { level: "bad", verb: ["samples at another rate than micring was told", "sample at another rate than micring was told"], normal: "Normal: within 1000 ppm of --sample-rate. Until they agree no loss and no drift can be told." },
  refused: { level: "bad", verb: ["has two senders, and most packets are refused", "have two senders, and most packets are refused"], normal: "Normal: one sender a port." },
  dead: { level: "bad", verb: ["is dead: its packets hold no sound", "are dead: their packets hold no sound"], normal: "Normal: even a silent room moves the lowest bits." },
  header_in_audio: { level: "warn", verb: ["sends a header that is heard as sound", "send a header that is heard as sound"], normal: "Normal: packets hold samples and nothing else." },
  same_as: { level: "warn", verb: ["is a copy of another microphone", "are copies of another microphone"], normal: "Normal: no two microphones hear the same to the bit." },
  half_empty: { level: "bad", verb: ["is half empty: every second sample is missing", "are half empty: every second sample is missing"], normal: "Normal: each sample is sound. It plays an octave off, or buzzes." },
  shifted_words: { level: "bad", verb: ["sends its samples shifted, or their bytes swapped", "send their samples shifted, or their bytes swapped"], normal: "Normal: 24 bits at the top of each word. Shifted to the right it is very quiet; with bytes swapped it is noise." },
  stuck_bits: { level: "warn", verb: ["has bits that never move: it sounds rough", "have bits that never move: they sound rough"], normal: "Normal: every bit between the lowest and the highest moves." },
  offset: { level: "note", verb: ["has an offset: its sound does not swing around 0", "have an offset: their sound does not swing around 0"], normal: "Normal: the mean is below 1 % of full scale." },
  clipping: { level: "note", verb: ["clips", "clip"], normal: "Normal: no flat tops." },
};

function faults({ faults: list = [] }) {
  const all = list.flatMap((own, mic) => own.map((fault) => ({ ...fault, mic })));
  return Object.entries(FAULTS).flatMap(([kind, { level, verb, normal }]) => {
    const found = all.filter(({ fault }) => fault.startsWith(kind));
    if (found.length === 0) return [];
    const who = found.map(({ mic }) => mic);
    const { mic, evidence, next_step: next } = found[0];
    const headline = `${capital(mics(who))} ${verb[who.length === 1 ? 0 : 1]}`;
    return [{ level, kind, mics: who, headline, figure: `Mic ${mic}: ${evidence}. Next: ${next}.`, normal }];
  });
}

function loss({ lost10, lostPieces10, received10, chunks10, pieces, losing, silentS }) {
  // What is silent has been said; that its packets are missing is the same news.
  const who = losers(lost10.map((lost, mic) => lost + lostPieces10[mic])).filter((mic) => !(silentS[mic] >= SILENT_S));
  if (who.length === 0) return null;
  // Of the audio: a piece is one packet of its chunk.
  const missing = (mic) => lost10[mic] * pieces[mic] + lostPieces10[mic];
  const worst = Math.max(...who.map((mic) => missing(mic) / (missing(mic) + received10[mic])));
  const each = who.map((mic) => lostOf(mic, { lost10, lostPieces10, received10, chunks10, pieces }));
  const same = each.length > 1 && each.every((text) => text === each[0]);
  const now = worst >= 0.005 && who.some((mic) => losing[mic]);
  const most = (counts) => Math.max(...who.map((mic) => counts[mic]));
  const cut = who.some((mic) => pieces[mic] > 1);
  const named = cut && each.length > 1 ? each.map((text, k) => `mic ${who[k]} ${text}`) : each;
  const lost = lostWords(most(lost10), most(lostPieces10), cut, who.length > 1 && !same ? "up to " : "");
  return {
    level: worst >= 0.1 ? "bad" : worst >= 0.005 ? "warn" : "note",
    kind: "loss",
    mics: who,
    headline: `${capital(mics(who))} ${now ? `${who.length === 1 ? "is" : "are"} losing packets` : `lost ${lost}${who.length > 1 ? " each" : ""}`}`,
    figure: `${same ? `${each[0]} of each` : named.join(", ")} lost in the last 10 s; the gaps are flagged, the channels stay aligned.`,
    normal: `Normal: none on a cable, below 0.5 % on Wi-Fi.${cut ? " 360 samples a chunk leave as one packet." : ""}`,
  };
}

/** "3 of 937 chunks (0.3 %) and 12 of 1868 pieces (0.6 %)"; where a chunk is one packet, "3 of 937 (0.3 %)". */
function lostOf(mic, { lost10, lostPieces10, received10, chunks10, pieces }) {
  const of = (part, whole, what) => `${count(part)} of ${count(whole)}${what} (${share(part, whole)})`;
  const chunks = of(lost10[mic], lost10[mic] + chunks10[mic], pieces[mic] > 1 ? " chunks" : "");
  if (lostPieces10[mic] === 0) return chunks;
  const rest = of(lostPieces10[mic], received10[mic] + lostPieces10[mic], " pieces");
  return lost10[mic] === 0 ? rest : `${chunks} and ${rest}`;
}

/** "3 chunks and 12 pieces", "1 piece", "30 packets". `cut`: chunks leave in pieces. */
export function lostWords(chunks, pieces, cut, upTo = "") {
  const some = (n, what) => `${upTo}${count(n)} ${what}${n === 1 ? "" : "s"}`;
  const whole = some(chunks, cut || pieces > 0 ? "chunk" : "packet");
  if (pieces === 0) return whole;
  return chunks === 0 ? some(pieces, "piece") : `${whole} and ${some(pieces, "piece")}`;
}

function kernelDrops({ dropped10 }) {
  const who = losers(dropped10);
  if (who.length === 0) return null;
  const drops = who.map((mic) => count(dropped10[mic])).join(", ");
  return {
    level: "bad",
    kind: "kernel_dropped",
    mics: who,
    headline: `The kernel drops packets of ${mics(who)}`,
    figure: `${drops} dropped at a full socket buffer in the last 10 s.`,
    normal: "Normal: none. This host is too slow or too busy; micring doctor tells what helps.",
  };
}

function lateness({ late10, chunks10, holdUs }) {
  const who = losers(late10);
  if (who.length === 0) return null;
  const each = who.map((mic) => `${count(late10[mic])} of ${count(chunks10[mic])}`);
  return {
    level: who.some((mic) => late10[mic] > 0.1 * chunks10[mic]) ? "bad" : "note",
    kind: "late",
    mics: who,
    headline: `Packets of ${mics(who)} come too late`,
    figure: `${each.join(", ")} came after their cycle had left in the last 10 s; the hold is ${duration(holdUs)}.`,
    normal: "Normal: none. They are in the history, not in the stream.",
  };
}

function lag({ offsets, clock, holdUs }) {
  if (offsets === null) return null;
  const { mic, us, trend } = offsets;
  if (Math.abs(us) < (clock === "independent" ? OFFSET_LIMIT_US : OFFSET_USUAL_US)) {
    if (trend === "slower" || trend === "faster") {
      const figure = `${duration(us, { plus: true })} against the others, and moving away from them.`;
      const headline = `Mic ${mic} is drifting ${us > 0 ? "behind" : "ahead"}`;
      return { level: "note", kind: "trend", mics: [mic], headline, figure, normal: lagNormal(clock) };
    }
    return null;
  }
  const words = { slower: us > 0 ? " and getting slower" : " and slowing down", faster: us > 0 ? " and catching up" : " and getting faster" };
  return {
    level: Math.abs(us) > holdUs ? "bad" : Math.abs(us) >= OFFSET_LIMIT_US ? "warn" : "note",
    kind: "lag",
    mics: [mic],
    headline: `Mic ${mic} is ${duration(Math.abs(us))} ${us > 0 ? "behind" : "ahead"}${words[trend] ?? ""}`,
    figure: `Its packets arrive ${duration(Math.abs(us))} ${us > 0 ? "after" : "before"} those of the others (median of the last second).`,
    normal: lagNormal(clock),
  };
}

function lagNormal(clock) {
  return clock === "independent"
    ? "Normal: steady, within 5 ms of the last two minutes."
    : "Normal: within 1 ms for one board; above 5 ms the old guide calls it significant.";
}

function drift({ drifts }) {
  const fast = PAIRS.map(([a, b], i) => ({ a, b, d: drifts[i] })).filter(
    ({ d }) => d !== null && Math.abs(d.ppm) - d.uncertainty > DRIFT_LIMIT_PPM,
  );
  if (fast.length === 0) return null;
  const { a, b, d } = fast.sort((x, y) => Math.abs(y.d.ppm) - Math.abs(x.d.ppm))[0];
  return {
    level: "note",
    kind: "drift",
    mics: [a, b],
    headline: `The clocks of mics ${a} and ${b} differ much`,
    figure: `${Math.abs(d.ppm).toFixed(0)} ± ${d.uncertainty.toFixed(1)} ppm: ${duration(Math.abs(d.ppm) * 60)} a minute.`,
    normal: "Normal: 0 ppm on one board, below 100 ppm between boards.",
  };
}

function badInput({ bad10 }) {
  const words = { malformed: "malformed", truncated: "too long", foreign: "from another sender", duplicate: "repeated" };
  const kinds = Object.keys(words).filter((key) => bad10[key] > 0);
  if (kinds.length === 0) return null;
  return {
    level: "note",
    kind: "bad_input",
    headline: "Some input is ignored",
    figure: `In the last 10 s: ${kinds.map((key) => `${count(bad10[key])} ${words[key]}`).join(", ")}.`,
    normal: "Normal: none. Audio is not touched by it.",
  };
}

function loop({ loopP99Us }) {
  if (loopP99Us === null || loopP99Us < LOOP_LIMIT_US) return null;
  return {
    level: "warn",
    kind: "loop",
    headline: "The server itself is late",
    figure: `It reads packets up to ${duration(loopP99Us)} after the kernel had them (p99 of the last 10 s).`,
    normal: "Normal: below 0.5 ms. Another program may hold its core.",
  };
}

function slowPage({ missed10 }) {
  if (missed10 === 0) return null;
  return {
    level: "note",
    kind: "slow_page",
    headline: "This page cannot keep up",
    figure: `${count(missed10)} events did not reach it in the last 10 s; the server and its recordings are not affected.`,
    normal: "Normal: none.",
  };
}

function losers(counts) {
  return counts.flatMap((n, mic) => (n > 0 ? [mic] : []));
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

/**
 * Who stands apart, from the offsets of the microphones against mic 0.
 * @param {(number | null)[]} offsetsUs of each microphone, in microseconds
 * @returns {{mic: number, us: number} | null} the one furthest from the median, later positive
 */
export function furthest(offsetsUs) {
  const known = offsetsUs.filter((us) => us !== null).sort((a, b) => a - b);
  if (known.length < 2) return null;
  // Of two, neither is the odd one: mic 0, or the first that is there, stands for "the others".
  const middle = known.length > 2 ? known[(known.length - 1) >> 1] : offsetsUs.find((us) => us !== null);
  let worst = null;
  offsetsUs.forEach((us, mic) => {
    if (us !== null && (worst === null || Math.abs(us - middle) > Math.abs(worst.us))) worst = { mic, us: us - middle };
  });
  return worst;
}

/**
 * Whether a lag goes on growing: three stretches of time, each beyond the last in one direction, and the newest still moves inside.
 * A single jump has two levels; one inside the middle stretch gives that a third, but then the newest stretch is level.
 * @param {(number | null)[]} medians of the three stretches, older to newer, and of the older and the newer half of the newest
 * @returns {"slower" | "faster" | "steady"}
 */
export function direction([a, b, c, before, now], leastUs) {
  if ([a, b, c, before, now].includes(null)) return "steady";
  const rising = (sign) => sign * (b - a) > leastUs && sign * (c - b) > leastUs && sign * (now - before) > leastUs / 4;
  return rising(1) ? "slower" : rising(-1) ? "faster" : "steady";
}
