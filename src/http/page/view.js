// The words and figures of the page: tiles, legends, tables. Built once; afterwards only text that changed is written.

import { MICS, PAIRS, PAIR_KEYS, UNKNOWN_TEXT, age, bytes, chunk, count, decibels, duration, packetDifference, ppm, share, trend } from "./format.js";
import { DRIFT_LIMIT_PPM, OFFSET_LIMIT_US, lostWords } from "./verdict.js";

/** Colours and dashes that there are; more lines share them. */
export const COLOURS = 3;

const MIC_KEYS = Array.from({ length: MICS }, (_, mic) => `mic${mic}`);

/** Writes `text` where it differs: the page stays still for whoever reads or selects it. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function largest(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length === 0 ? null : Math.max(...known);
}

/** The key figures: name, what is normal, the figure, and whether it is outside of that. */
const TILES = [
  { name: "Skew, worst pair", normal: "normal: below 1 ms on one board", of: ({ facts }) => [duration(facts.spreadUs), facts.spreadUs, facts.clock === "independent" ? Infinity : 1000] },
  {
    name: "Lost, last 10 s",
    normal: "normal: 0",
    of: ({ facts }) => {
      if (facts.lossUnknown?.some((reason) => reason !== null)) return [UNKNOWN_TEXT, null, 0];
      const sum = (list) => list.reduce((a, b) => a + b, 0);
      const [lost, pieces] = [sum(facts.lost10), sum(facts.lostPieces10)];
      const text = pieces > 0 ? lostWords(lost, pieces, true) : `${count(lost)} of ${count(lost + sum(facts.chunks10))}`;
      return [text, lost + pieces, 0];
    },
  },
  { name: "Jitter, worst", normal: "normal: below 1 ms by cable, 5 ms on Wi-Fi", of: ({ d }) => worst(largest(MIC_KEYS.map((key) => d.jitter_us[key])), 5000) },
  {
    name: "Drift, worst pair",
    normal: "normal: 0 ppm on one board",
    of: ({ facts }) => {
      const known = facts.drifts.filter((drift) => drift !== null).sort((a, b) => Math.abs(b.ppm) - Math.abs(a.ppm));
      return known.length === 0 ? [UNKNOWN_TEXT, null] : [ppm(known[0].ppm, known[0].uncertainty), Math.abs(known[0].ppm), DRIFT_LIMIT_PPM];
    },
  },
  { name: "Loop skew, p99 of 10 s", normal: "normal: below 0.2 ms", of: ({ d }) => worst(d.window.loop_skew_us.p99, 200) },
  { name: "Packet to event, p99 of 10 s", normal: "normal: below 1 ms", of: ({ d }) => worst(d.window.emit_delay_us.p99, 1000) },
];

function worst(us, limit) {
  return [duration(us), us, limit];
}

export class Tiles {
  constructor(list) {
    this.cells = TILES.map(({ name, normal }) => {
      const value = make("dd", {}, UNKNOWN_TEXT);
      const cell = make("div", { "data-state": "unknown" }, make("dt", {}, name), value, make("dd", {}, normal));
      list.append(cell);
      return { cell, value };
    });
  }

  show(facts, d) {
    TILES.forEach(({ of }, k) => {
      const [text, value, limit] = of({ facts, d });
      const { cell, value: place } = this.cells[k];
      write(place, text);
      const state = value === null ? "unknown" : value > limit ? "outside" : "normal";
      if (cell.dataset.state !== state) cell.dataset.state = state;
    });
  }
}

/** A legend: a swatch, a name and a figure that changes, each. */
export class Legend {
  constructor(list, items) {
    this.figures = items.map(({ name, classes }) => {
      const figure = make("b");
      list.append(make("li", { class: classes }, make("i"), `${name} `, figure));
      return figure;
    });
  }

  show(texts) {
    texts.forEach((text, k) => write(this.figures[k], text));
  }
}

export const MIC_LEGEND = MIC_KEYS.map((_, mic) => ({ name: `mic ${mic}`, classes: `mic${mic % COLOURS} dash${mic % COLOURS}` }));
export const DELAY_LEGEND = MIC_KEYS.map((_, mic) => ({ name: `mic ${mic}`, classes: `mic${mic % COLOURS} block` }));
export const SKEW_LEGEND = PAIRS.map(([a, b], pair) => ({ name: `mic ${b} \u2212 mic ${a}`, classes: `pair${pair % COLOURS} dash${pair % COLOURS}` }));
export const DRIFT_LEGEND = PAIRS.map(([a, b], pair) => ({ name: `${a} \u2212 ${b}`, classes: `pair${pair % COLOURS} dash${pair % COLOURS}` }));

/** A table with fixed rows; each gives its cells' texts. A cell that begins with an exclamation mark is raised. */
class Table {
  constructor(table, caption, columns, rows) {
    table.append(make("caption", {}, caption));
    table.append(make("thead", {}, make("tr", {}, ...columns.map((name) => make("th", { scope: "col", ...(name === "normal" ? { class: "normal" } : {}) }, name)))));
    const body = make("tbody");
    this.rows = rows.map((row) => {
      const cells = columns.slice(1).map((name) => make("td", name === "normal" ? { class: "normal" } : {}, name === "normal" ? row.normal : ""));
      body.append(make("tr", {}, make("th", { scope: "row" }, row.name), ...cells));
      return { cells: cells.slice(0, columns.at(-1) === "normal" ? -1 : undefined), of: row.of };
    });
    table.append(body);
  }

  show(...what) {
    for (const { cells, of } of this.rows) {
      of(...what).forEach((text, k) => {
        const raised = text.startsWith("!");
        write(cells[k], raised ? text.slice(1) : text);
        if (cells[k].classList.contains("raised") !== raised) cells[k].classList.toggle("raised", raised);
      });
    }
  }
}

function raisedCount(n) {
  return n > 0 ? `!${count(n)}` : count(n);
}

const lossRow = (name, key, normal) => ({ name, normal, of: (d) => MIC_KEYS.map((mic) => raisedCount(d.loss[mic][key] ?? null)) });
const delayRow = (name, key, of) => ({ name, normal: key === "max" ? "below 10 ms" : "below 0.5 ms", of: (d) => MIC_KEYS.map((mic) => duration(of(d)[mic]?.[key])) });

export function micTable(table) {
  return new Table(table, "Packets since start; times in the last 10 s where it says so.", ["", ...MIC_KEYS.map((_, mic) => `mic ${mic}`), "normal"], [
    { name: "received", normal: "93.75 chunks/s", of: (d) => d.packet_stats.packets_received.map(count) },
    { name: "a chunk, samples", normal: "one packet", of: (d) => MIC_KEYS.map((mic) => chunk(d.server.chunk?.[mic])) },
    { name: "held in the history", normal: "within 2", of: (d) => MIC_KEYS.map((mic) => count(d.synchronization_status.buffer_packets[mic])) },
    lossRow("lost", "lost", "0"),
    { name: "told by", normal: "", of: (d) => MIC_KEYS.map((mic) => (d.loss[mic].known ? "numbers" : "arrivals")) },
    lossRow("lost pieces", "lost_pieces", "0"),
    lossRow("late", "late", "0"),
    lossRow("dropped by the kernel", "kernel_dropped", "0"),
    lossRow("repeated", "duplicate", "0"),
    lossRow("from another sender", "foreign", "0"),
    lossRow("malformed", "malformed", "0"),
    lossRow("too long", "truncated", "0"),
    { name: "sender changes", normal: "0", of: (d) => MIC_KEYS.map((mic) => count(d.loss[mic].sender_changes)) },
    { name: "slips, samples", normal: "0 on one board", of: (d) => MIC_KEYS.map((mic) => count(d.loss[mic].slips)) },
    { name: "skips taken back", normal: "0", of: (d) => MIC_KEYS.map((mic) => count(d.loss[mic].corrected)) },
    {
      name: "samples a second, 10 s",
      normal: "as was told",
      of: (d) => MIC_KEYS.map((mic) => {
        const rate = d.window.rate_hz?.[mic];
        if (rate === undefined || rate.hz === null) return UNKNOWN_TEXT;
        const off = Math.abs(rate.hz / d.server.sample_rate - 1) > 1e-3;
        return `${off ? "!" : ""}${count(Math.round(rate.hz))} ± ${count(Math.ceil(rate.uncertainty_hz))}`;
      }),
    },
    {
      name: "offset, % of full scale",
      normal: "below 1",
      of: (d) => MIC_KEYS.map((mic) => {
        const offset = d.level?.[mic].offset ?? null;
        return offset === null ? UNKNOWN_TEXT : `${Math.abs(offset) > 0.01 ? "!" : ""}${(100 * offset).toFixed(2)}`;
      }),
    },
    {
      name: "clipped, % of samples",
      normal: "0",
      of: (d) => MIC_KEYS.map((mic) => {
        const share = d.level?.[mic].clipped_share ?? null;
        return share === null ? UNKNOWN_TEXT : `${share > 0 ? "!" : ""}${(100 * share).toFixed(2)}`;
      }),
    },
    {
      name: "rate against the host, ppm",
      normal: "within ±50",
      of: (d) => MIC_KEYS.map((mic) => ppm(d.clock_drift_ppm[mic].ppm, d.clock_drift_ppm[mic].uncertainty_ppm).replace(" ppm", "")),
    },
    delayRow("loop delay p50, 10 s", "p50", (d) => d.window.loop_delay_us),
    delayRow("loop delay p99, 10 s", "p99", (d) => d.window.loop_delay_us),
    delayRow("loop delay, most ever", "max", (d) => d.loop_delay_us),
  ]);
}

const PERCENTILES = ["last", "min", "p50", "p90", "p99", "p999", "max"];

export function skewTable(table) {
  const names = { last: "now", p999: "p99.9" };
  const columns = ["", ...PERCENTILES.map((key) => names[key] ?? key), "trend a minute", "packets apart"];
  return new Table(table, "Since start: arrival of the second microphone minus that of the first, inside a cycle.", columns, PAIRS.map(([a, b], pair) => ({
    name: `mic ${b} \u2212 mic ${a}`,
    of: (d) => {
      const skew = d.arrival_skew_us[PAIR_KEYS[pair]] ?? {};
      const { trend_us_per_min: slope = null, trend_uncertainty_us_per_min: spread } = skew;
      const apart = d.synchronization_status.buffer_packet_diffs[PAIR_KEYS[pair]] ?? 0;
      const word = packetDifference(apart);
      return [
        ...PERCENTILES.map((key) => (Math.abs(skew[key] ?? 0) > OFFSET_LIMIT_US ? "!" : "") + duration(skew[key], { plus: true })),
        slope === null ? UNKNOWN_TEXT : duration(slope, { plus: true }) + (spread === undefined || spread === null ? "" : ` ± ${duration(spread)}`),
        `${word === "significant" ? "!" : ""}${count(Math.abs(apart))}: ${word}`,
      ];
    },
  })));
}

/** Since start, and of the last 10 s. */
const both = (name, of, normal, show = count) => ({ name, normal, of: (d) => [show(of(d)), show(of(d.window))] });
/** The same, of what should not happen. */
const never = (name, of) => both(name, of, "0", (n) => (n === undefined ? UNKNOWN_TEXT : raisedCount(n)));

export function streamTable(table) {
  return new Table(table, "An event is a cycle for one subscriber.", ["", "since start", "last 10 s", "normal"], [
    both("cycles emitted", (d) => d.cycles.emitted, "93.75 a second"),
    both("with all microphones", (d) => d.cycles.complete, "all"),
    never("with a gap", (d) => d.cycles.incomplete),
    never("lost whole", (d) => d.cycles.skipped),
    { name: "subscribers now", normal: "", of: (d) => [count(d.stream.subscribers), ""] },
    both("events sent", (d) => d.stream.events_sent, ""),
    never("events dropped", (d) => d.stream.events_dropped),
    both("streams resumed", (d) => d.stream.resumed, ""),
    both("bytes sent", (d) => d.stream.bytes_sent, "0.8 MB/s each", bytes),
    { name: "connections open", normal: "", of: (d) => [count(d.http?.connections_open), ""] },
    both("requests", (d) => d.http?.requests, ""),
    never("turned away", (d) => d.http?.rejected),
    { name: "events in this page", normal: "", of: (_, own) => [count(own.events), ""] },
    { name: "that this page missed", normal: "0", of: (_, own) => [raisedCount(own.missed), ""] },
  ]);
}

export function ringTable(table) {
  return new Table(table, "io_uring: one loop, one wait for everything.", ["", "since start", "last 10 s", "normal"], [
    both("turns of the loop", (d) => d.ring?.turns, ""),
    both("enters of the kernel", (d) => d.ring?.enters, "1 a turn"),
    both("completions", (d) => d.ring?.completions, ""),
    ...[["no buffers", "enobufs"], ["full queue", "cq_overflow"], ["empty datagram", "empty_datagram"], ["no descriptors", "emfile"], ["error", "error"]].map(
      ([name, key]) => never(`armed again: ${name}`, (d) => d.ring?.rearms?.[key]),
    ),
    never("completions delayed", (d) => d.ring?.cq_overflows),
    never("submissions delayed", (d) => d.ring?.sq_full),
    never("stamps cut off", (d) => d.ring?.control_truncated),
    never("log lines dropped", (d) => d.ring?.log_lines_dropped),
    both("steps of the host's clock", (d) => d.clock_steps, "0"),
  ]);
}

/** The line beside the name. */
export function about(d, facts, eventsASecond) {
  const { server } = d;
  const core = server.core === null ? "not pinned" : `core ${server.core}`;
  const rate = eventsASecond === null ? "no events yet" : `${eventsASecond.toFixed(1)} events/s`;
  return `${facts.connected ? "live" : "no answer"} · ${rate} · ${server.clock} clock · hold ${duration(server.hold_us)} · ${server.sample_rate / 1000} kHz · ${core} · up ${age(server.uptime_s)} · micring ${server.version}`;
}

/** A pair's skew now, where it is going, and how many packets it is apart, in the old guide's words. */
export function skewText(d, key, us) {
  if (d.arrival_skew_us[key] === undefined) return "they come together: one source";
  const { trend_us_per_min, trend_uncertainty_us_per_min } = d.arrival_skew_us[key];
  const apart = d.synchronization_status.buffer_packet_diffs[key];
  return `${duration(us, { plus: true })}, ${trend(trend_us_per_min, trend_uncertainty_us_per_min)}, ${Math.abs(apart)} ${Math.abs(apart) === 1 ? "packet" : "packets"} apart: ${packetDifference(apart)}`;
}

/** What a microphone's strip says in words. */
export function fateText(facts, mic) {
  const [lost, pieces] = [facts.lost10[mic], facts.lostPieces10[mic]];
  if (pieces > 0) return `${lostWords(lost, pieces, true)} lost in 10 s`;
  return lost > 0 ? `${count(lost)} lost in 10 s (${share(lost, lost + facts.chunks10[mic])})` : `${count(facts.received10[mic])} arrived in 10 s`;
}

export function levelText(level) {
  return level.rmsDb === null ? UNKNOWN_TEXT : `${decibels(level.rmsDb)}, peak ${decibels(level.peakDb).replace(" dBFS", "")}`;
}
