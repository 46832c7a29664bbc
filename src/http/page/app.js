// The dashboard: joins the server's two tongues (events and figures) to the model, and the model to the pictures.
//
// 94 events a second go into the model as they come; nothing is drawn for an event. One animation frame, at most 30 times a
// second, draws what is in view; words and tables follow 4 times a second, on a timer. When the server goes away, everything tries again.

import { MICS, PAIRS, PAIR_KEYS, UNKNOWN_TEXT, decibels, duration, ppm, samples } from "./format.js";
import { Model, POLL_MS } from "./model.js";
import { Picture, drawHistogram, drawJitter, drawMeter, drawPairs, drawSkew, drawStrip, drawWave, palette } from "./plots.js";
import { Player } from "./listen.js";
import { calibrate } from "./calibrate.js";
import { Calm, news } from "./verdict.js";
import { address, paths } from "./place.js";
import { onTheme } from "./theme.js";
import * as view from "./view.js";

const FRAME_MS = 1000 / 30;
/** Of the pictures that move slowly, and of the words. */
const SLOW_FRAMES = 3;
const WORDS_MS = 250;
/** A screen reader hears a changed verdict, not every figure. */
const ANNOUNCE_MS = 4000;
const METRICS_MS = 1000;
const STALLED_MS = 3000;

const $ = (id) => document.getElementById(id);

const model = new Model();
const player = new Player();
/** The model that stands still while the plots are paused. */
let held = null;

// ---- In: events

let source = null;

function openStream() {
  source?.close();
  model.streamOpened(performance.now());
  source = new EventSource(address(paths.stream, { last_event_id: model.eventId ?? "" }));
  source.onopen = () => model.streamOpened(performance.now());
  source.onmessage = (message) => {
    const samples = model.cycle(JSON.parse(message.data), Number(message.lastEventId), performance.now());
    if (samples !== null) player.push(samples);
  };
}

/** EventSource tries again by itself when a connection breaks, but gives up on an answer that is no stream, and never notices a dead peer. */
function tendStream(facts, now) {
  const given = source.readyState === EventSource.CLOSED;
  const stalled = facts.connected && facts.stalledS * 1000 > STALLED_MS;
  if (facts.connected && (given || stalled) && now - model.streamSince > STALLED_MS) openStream();
}

// ---- In: figures

async function ask(path) {
  const response = await fetch(address(path), { cache: "no-store", signal: AbortSignal.timeout(3000) });
  if (response.status === 401 || response.status === 421) {
    const { error } = await response.json();
    model.refused(error);
  }
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}

/** Asks again and again, never twice at once; less often while there is no answer. */
function poll(everyMs, work) {
  const again = () => work().then(() => everyMs, () => 1000).then((ms) => setTimeout(again, ms));
  again();
}

// ---- Out: pictures

const cards = [...Array(MICS).keys()].map((mic) => {
  const card = $("mic").content.cloneNode(true);
  const part = (name) => card.querySelector(`[data-of="${name}"]`);
  card.querySelector("h2").textContent = `mic ${mic}`;
  const parts = {
    level: part("level"),
    loss: part("loss"),
    wave: new Picture(part("wave"), (picture, shown) => drawWave(picture, colours, shown.wave, mic, close)),
    meter: new Picture(part("meter"), (picture, shown) => drawMeter(picture, colours, shown.levels[mic], mic)),
    strip: new Picture(part("strip"), (picture, shown) => drawStrip(picture, colours, shown.fates, mic, shown.pieces(mic))),
  };
  $("mics").append(card);
  return parts;
});

const quick = cards.flatMap(({ wave, meter }) => [wave, meter]);
const slow = [
  ...cards.map(({ strip }) => strip),
  new Picture($("skew"), (picture, shown) => drawSkew(picture, colours, shown.skew, shown.diagnostics?.server.hold_us ?? 0)),
  new Picture($("alignment"), (picture, shown) => drawPairs(picture, colours, shown.alignment, alignmentReason(shown), samples)),
  new Picture($("jitter"), (picture, shown) => drawJitter(picture, colours, shown.jitter)),
  new Picture($("drift"), (picture, shown) => drawPairs(picture, colours, shown.drift, driftReason(shown), ppm)),
  new Picture($("delay"), (picture, shown) => drawHistogram(picture, colours, shown.histogram("micring_loop_delay_seconds"), colours.mics)),
  new Picture($("loopskew"), (picture, shown) => drawHistogram(picture, colours, shown.histogram("micring_loop_skew_seconds"), [colours.muted])),
];

const legend = (name, items) => new view.Legend(document.querySelector(`.legend[data-of="${name}"]`), items);
const legends = {
  pairs: legend("pairs", view.SKEW_LEGEND),
  mics: legend("mics", view.MIC_LEGEND),
  alignment: legend("alignment", view.DRIFT_LEGEND),
  drifts: legend("drifts", view.DRIFT_LEGEND),
  delays: legend("delays", view.DELAY_LEGEND),
  loopskew: legend("loopskew", [{ name: "all", classes: "block" }]),
};
const tiles = new view.Tiles($("tiles"));
const tables = { mics: view.micTable($("mic-table")), skew: view.skewTable($("skew-table")), stream: view.streamTable($("stream-table")), ring: view.ringTable($("ring-table")) };

let colours = palette();
let close = false;

function driftReason(shown) {
  const drift = shown.diagnostics?.clock_drift_ppm;
  return firstReason(drift);
}

function alignmentReason(shown) {
  const alignment = shown.diagnostics?.alignment;
  return firstReason(alignment);
}

function firstReason(pairs) {
  if (PAIR_KEYS.length === 0) return "one microphone has no other to compare it with";
  return PAIR_KEYS.map((key) => pairs?.[key]?.reason).find((reason) => reason) ?? "no figures yet";
}

// ---- Out: words

const calm = new Calm();
let announced = { news: null, time: -Infinity };
let eventsBefore = null;

function showVerdict(verdict, now) {
  const section = $("verdict");
  if (section.dataset.level !== verdict.level) section.dataset.level = verdict.level;
  if (section.dataset.kind !== verdict.kind) section.dataset.kind = verdict.kind;
  view.write($("headline"), verdict.headline);
  view.write($("figure"), verdict.figure);
  view.write($("normal"), verdict.normal);
  const title = verdict.level === "good" ? "micring" : `${verdict.headline} · micring`;
  if (document.title !== title) document.title = title;
  const others = $("others");
  if (others.children.length !== verdict.others.length) others.replaceChildren(...verdict.others.map(() => document.createElement("li")));
  verdict.others.forEach((text, k) => view.write(others.children[k], text));
  if (news(verdict) !== announced.news && now - announced.time > ANNOUNCE_MS) {
    view.write($("announce"), `${verdict.headline}. ${verdict.figure}`);
    announced = { news: news(verdict), time: now };
  }
}

/** Events a second over the last seconds, for the line beside the name. */
function eventRate(now) {
  if (eventsBefore === null || now - eventsBefore.time > 5000) {
    const rate = eventsBefore === null ? null : ((model.own.events - eventsBefore.events) * 1000) / (now - eventsBefore.time);
    eventsBefore = { events: model.own.events, time: now, rate };
  }
  return eventsBefore.rate;
}

function showWords(now) {
  const facts = model.facts(now);
  tendStream(facts, now);
  // The verdict is never paused.
  showVerdict(calm.show(model.verdict(now), now), now);
  view.write($("listen-state"), listenText());
  const rate = eventRate(now);
  if (model.diagnostics !== null) view.write($("about"), view.about(model.diagnostics, facts, rate));
  document.body.dataset.connected = String(facts.connected);
  if (held !== null || !facts.connected) return;
  const d = model.diagnostics;
  tiles.show(facts, d);
  legends.pairs.show(PAIR_KEYS.map((key, pair) => view.skewText(d, key, model.skew.median(0, 10, pair))));
  legends.mics.show(PAIR_MICS.map((key) => duration(d.jitter_us[key])));
  legends.alignment.show(PAIR_KEYS.map((key) => samples(d.alignment?.[key]?.offset_samples, d.alignment?.[key]?.uncertainty_samples)));
  legends.drifts.show(PAIR_KEYS.map((key) => ppm(d.clock_drift_ppm[key]?.ppm, d.clock_drift_ppm[key]?.uncertainty_ppm)));
  legends.delays.show(PAIR_MICS.map((key) => twoPercentiles(d.window.loop_delay_us[key])));
  legends.loopskew.show([twoPercentiles(d.window.loop_skew_us)]);
  cards.forEach(({ level, loss }, mic) => {
    view.write(level, view.levelText(model.levels[mic]));
    view.write(loss, view.fateText(facts, mic));
  });
  tables.mics.show(d);
  tables.skew.show(d);
  tables.stream.show(d, model.own);
  tables.ring.show(d);
  labelPictures(facts);
}

const PAIR_MICS = [...Array(MICS).keys()].map((mic) => `mic${mic}`);

function twoPercentiles({ p50, p99 }) {
  return p50 === null ? UNKNOWN_TEXT : `p50 ${duration(p50)}, p99 ${duration(p99)}`;
}

/** A picture's text for those who do not see it: the figures of its legend. */
function labelPictures(facts) {
  const label = (picture, text) => picture.canvas.getAttribute("aria-label") === text || picture.canvas.setAttribute("aria-label", text);
  const words = (name) => document.querySelector(`.legend[data-of="${name}"]`).innerText.replaceAll("\n", ", ");
  cards.forEach(({ wave, meter, strip }, mic) => {
    label(wave, `Waveform of mic ${mic}`);
    label(meter, `Level of mic ${mic}: ${view.levelText(model.levels[mic])}`);
    label(strip, `Packets of mic ${mic}: ${view.fateText(facts, mic)}`);
  });
  const [skew, alignment, jitter, drift, delay, loopskew] = slow.slice(MICS);
  label(skew, `Pair skew over two minutes. Now: ${words("pairs")}`);
  label(alignment, `Alignment of the channels over an hour. Now: ${words("alignment")}`);
  label(jitter, `Jitter over two minutes. Now: ${words("mics")}`);
  label(drift, `Clock drift over an hour. Now: ${words("drifts")}`);
  label(delay, `Histogram of the loop delay: ${words("delays")}`);
  label(loopskew, `Histogram of the loop skew: ${words("loopskew")}`);
}

const heard = new Float32Array(2048);

function listenText() {
  if (!player.playing) return "stopped";
  const levels = player.analysers.map((analyser, mic) => {
    analyser.getFloatTimeDomainData(heard);
    const power = heard.reduce((sum, value) => sum + value * value, 0) / heard.length;
    return `mic ${mic} ${decibels(10 * Math.log10(power))}`;
  });
  const gaps = player.underruns === 1 ? "1 gap" : `${player.underruns} gaps`;
  return `playing, ${(player.ahead * 1000).toFixed(0)} ms ahead, ${gaps} · ${levels.join(", ")}`;
}

// ---- The one animation frame

let drawnAt = -Infinity;
let frames = 0;

function frame(time) {
  requestAnimationFrame(frame);
  // Half a frame of a 120 Hz screen early is still in time.
  if (time - drawnAt < FRAME_MS - 4) return;
  drawnAt = time;
  const shown = held ?? model;
  for (const picture of quick) picture.paint(shown);
  if (frames % SLOW_FRAMES === 0) for (const picture of slow) picture.paint(shown);
  frames += 1;
}

for (const mic of Array(MICS).keys()) $("mode").append(new Option(`mic ${mic}`, String(mic)));

// ---- Buttons. Their labels say what a press does or what is: pressed or not would say it again, and the other way round.

$("pause").addEventListener("click", () => {
  held = held === null ? model.copy() : null;
  $("pause").dataset.on = String(held !== null);
  $("pause").textContent = held === null ? "Pause plots" : "Go on";
});

$("close").addEventListener("click", () => {
  close = !close;
  $("close").dataset.on = String(close);
  $("close").textContent = close ? "Waveform: 40 ms" : "Waveform: 5 s";
});

onTheme(() => (colours = palette()));

$("listen").addEventListener("click", async () => {
  if (player.playing) await player.stop();
  else await player.start(model.sampleRate);
  $("listen").dataset.on = String(player.playing);
  $("listen").textContent = player.playing ? "Stop" : "Listen live";
});
$("mode").addEventListener("change", () => (player.mode = $("mode").value));
$("volume").addEventListener("input", () => {
  player.decibels = Number($("volume").value);
  $("volume-text").textContent = `${$("volume").value.replace("-", "\u2212")} dB`;
});

$("calibrate").addEventListener("click", async () => {
  const asked = (method) => fetch(address(paths.calibrate), { method, cache: "no-store" }).then((response) => response.json());
  $("calibrate").disabled = true;
  await calibrate(asked, (text) => view.write($("calibrate-state"), text)).catch((error) => view.write($("calibrate-state"), error.message));
  $("calibrate").disabled = false;
});

function linkDownloads() {
  const parameters = { seconds: $("seconds").value };
  // Whoever clicks opens it in a player, which mixes all channels only when it is told where they belong.
  $("save-wav").href = address(paths.wav, { ...parameters, wav: "extensible" });
  $("save-csv").href = address(paths.csv, parameters);
}
$("seconds").addEventListener("change", linkDownloads);

$("export").addEventListener("click", () => {
  // The plots may be paused; the verdict never is.
  const verdict = model.verdict(performance.now());
  const body = JSON.stringify({ taken: new Date().toISOString(), ...(held ?? model).toJSON(verdict) }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([body], { type: "application/json" }));
  link.download = `micring-figures-${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});

for (const path of paths.all) {
  const link = document.createElement("a");
  link.href = address(path);
  link.textContent = path;
  $("links").append(link);
}

// ---- Go

linkDownloads();
openStream();
poll(POLL_MS, async () => model.figures(await (await ask(paths.diagnostics)).json(), performance.now()));
poll(METRICS_MS, async () => model.metrics(await (await ask(paths.metrics)).text()));
requestAnimationFrame(frame);
// A timer and not the animation frame: a tab in the background goes on to say in its title how things are.
setInterval(() => showWords(performance.now()), WORDS_MS);
