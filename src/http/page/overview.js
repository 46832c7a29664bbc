// The overview: a tile for each array, the worst first.
//
// One request a second tells of all. A tile is built once and stays; only what changed of it is written, and only tiles whose place
// changed are moved, so that hundreds cost a browser little. Words are the server's own where it has any.

import { count, decibels, share } from "./format.js";
import { address } from "./place.js";
import { ranked } from "./ranking.js";
import { write } from "./view.js";

const POLL_MS = 1000;

const $ = (id) => document.getElementById(id);
const tiles = new Map();

function tile(name) {
  const item = document.createElement("li");
  const make = (tag, className) => item.appendChild(Object.assign(document.createElement(tag), { className }));
  const link = make("h2", "").appendChild(document.createElement("a"));
  link.href = address("/", { array: name });
  link.textContent = name;
  return { item, text: make("p", "text"), level: make("p", "figure"), loss: make("p", "figure"), about: make("p", "muted") };
}

function lossText({ lost, of }) {
  if (lost === null) return "loss unknown";
  return lost === 0 ? "nothing lost in 10 s" : `${count(lost)} of ${count(of)} lost (${share(lost, of)})`;
}

function show(arrays) {
  const shown = ranked(arrays);
  const list = $("arrays");
  const names = new Set(arrays.map(({ name }) => name));
  for (const [name, { item }] of tiles) {
    if (names.has(name)) continue;
    item.remove();
    tiles.delete(name);
  }
  let place = list.firstElementChild;
  for (const { array, verdict } of shown) {
    const known = tiles.get(array.name);
    const { item, text, level, loss, about } = known ?? tile(array.name);
    if (known === undefined) tiles.set(array.name, { item, text, level, loss, about });
    if (item.dataset.level !== verdict.level) item.dataset.level = verdict.level;
    write(text, verdict.text);
    write(level, decibels(array.level_dbfs));
    write(loss, lossText(array.loss));
    write(about, `${array.channels} ${array.channels === 1 ? "channel" : "channels"}, ${array.sample_rate / 1000} kHz, ${array.senders.find((sender) => sender !== null) ?? "nobody heard"}`);
    if (item === place) place = place.nextElementSibling;
    else list.insertBefore(item, place);
  }
  sum(shown);
}

function sum(shown) {
  const of = (...levels) => shown.filter(({ verdict }) => levels.includes(verdict.level)).length;
  const [bad, warn] = [of("bad"), of("warn")];
  const worst = shown[0]?.verdict.level ?? "warn";
  const headline = shown.length === 0 ? "No array was heard yet" : bad + warn === 0 ? `All ${count(shown.length)} arrays are well` : `${count(bad + warn)} of ${count(shown.length)} arrays need a look`;
  say(worst, headline, bad > 0 ? `${count(bad)} not usable, ${count(warn)} with losses or waiting.` : warn > 0 ? `${count(warn)} with losses or waiting.` : "Nothing was lost in the last 10 s.");
}

function say(level, headline, figure) {
  if ($("all").dataset.level !== level) $("all").dataset.level = level;
  write($("all-headline"), headline);
  write($("all-figure"), figure);
  const title = level === "good" ? "micring" : `${headline} · micring`;
  if (document.title !== title) document.title = title;
}

async function ask() {
  const response = await fetch(address("/api/arrays"), { cache: "no-store", signal: AbortSignal.timeout(3000) });
  const body = await response.json();
  if (!response.ok) return say("bad", "The server refuses this page", body.error);
  show(body.arrays);
  write($("about"), `live · ${count(body.arrays.length)} arrays`);
}

function again() {
  ask()
    .catch(() => say("bad", "The server does not answer", "Trying again every second."))
    .then(() => setTimeout(again, POLL_MS));
}

again();
