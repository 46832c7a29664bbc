// The dashboard in a real browser, beside the real server and virtual microphones.

import test, { after } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import { readFile } from "node:fs/promises";
import { closeAll, openPage, screenshot, serve, simulate, stop, until, verdict } from "./harness.mjs";
import { startFake } from "./fake.mjs";

after(closeAll);

/** Root mean square of the tone that `simulate --signal tone` sends: a quarter of full scale over the root of two. */
const TONE_RMS = 0.25 / Math.SQRT2;

/** Every analyser that the page makes, for a look at what is heard. Runs in the page. */
function collectAnalysers() {
  globalThis.heard = [];
  const make = AudioContext.prototype.createAnalyser;
  AudioContext.prototype.createAnalyser = function () {
    const analyser = make.call(this);
    globalThis.heard.push(analyser);
    return analyser;
  };
}

/** Root mean square of each of the newest three analysers. */
function loudness(page) {
  return page.evaluate(() =>
    globalThis.heard.slice(-3).map((analyser) => {
      const samples = new Float32Array(analyser.fftSize);
      analyser.getFloatTimeDomainData(samples);
      return Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
    }),
  );
}

/** How many different colours a canvas shows, up to four. */
function colours(page, selector) {
  return page.evaluate((selector) =>
    [...document.querySelectorAll(selector)].map((canvas) => {
      const seen = new Set(new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer));
      return Math.min(4, seen.size);
    }), selector);
}

function filled(page) {
  return page.evaluate(() => document.body.dataset.connected === "true" && document.querySelector("#tiles dd").textContent !== "unknown");
}

test("the page, fed by virtual microphones", async (t) => {
  const server = await serve();
  const microphones = simulate(server, "--signal", "tone");
  const page = await openPage(server.url, { height: 2400, prepare: collectAnalysers });

  await t.test("fills with live data", async () => {
    await until("key figures", () => filled(page));
    // Which one is the machine's: on a busy one the loop is late, or the page slow.
    const empty = [undefined, "offline", "refused", "waiting", "absent", "stalled"];
    await until("a verdict from the stream", async () => !empty.includes((await verdict(page)).kind));
    for (const id of ["mic-table", "stream-table", "ring-table"]) {
      const cells = await page.locator(`#${id} td:not(.normal)`).allTextContents();
      assert.ok(cells.length > 10, id);
    }
    await until("93.75 events a second, more or less", async () => {
      const rate = /([\d.]+) events\/s/.exec(await page.locator("#about").textContent());
      return rate !== null && Number(rate[1]) > 85 && Number(rate[1]) < 105;
    });
    await until("every picture drawn", async () => {
      const seen = await colours(page, "canvas");
      return seen.length > 3 && seen.every((n) => n > 1);
    });
  });

  await t.test("levels are those of the tone that is sent", async () => {
    // A sine's root mean square in decibels below full scale.
    const expected = 20 * Math.log10(TONE_RMS);
    const levels = await page.locator(".mic .level").allTextContents();
    assert.equal(levels.length, 3);
    for (const text of levels) {
      const db = Number(/([\d.]+) dBFS/.exec(text)[1]);
      assert.ok(Math.abs(-db - expected) < 0.5, `${text}, expected ${expected.toFixed(1)}`);
    }
  });

  await t.test("Listen sounds on all three channels, or on the one that is chosen", async () => {
    await page.click("#listen");
    const near = (value) => Math.abs(value - TONE_RMS) < 0.03;
    await until("the tone on all three", async () => {
      const heard = await loudness(page);
      return heard.length === 3 && heard.every(near);
    });
    await page.selectOption("#mode", "1");
    await until("the tone on mic 1 alone", async () => {
      const [a, b, c] = await loudness(page);
      return a < 0.001 && near(b) && c < 0.001;
    });
    assert.match(await page.locator("#listen-state").textContent(), /playing/);
    await page.click("#listen");
    await until("stopped", async () => (await page.locator("#listen-state").textContent()) === "stopped");
  });

  await t.test("pausing stops the plots, not the verdict", async () => {
    const picture = () => page.evaluate(() => document.querySelector("canvas.wave").toDataURL());
    await page.focus("#pause");
    await page.keyboard.press("Space");
    assert.equal(await page.getAttribute("#pause", "data-on"), "true");
    assert.equal(await page.textContent("#pause"), "Go on");
    await new Promise((done) => setTimeout(done, 200));
    const before = await picture();
    await new Promise((done) => setTimeout(done, 500));
    assert.equal(await picture(), before, "paused");
    // Longer than an answer may take: what is saved still says how things are.
    await new Promise((done) => setTimeout(done, 2000));
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
    const saved = JSON.parse(await readFile(await download.path()));
    assert.notEqual(saved.verdict.headline, "The server does not answer");
    await page.focus("#pause");
    await page.keyboard.press("Space");
    await until("moving again", async () => (await picture()) !== before);
  });

  await t.test("figures, WAV and CSV are saved", async () => {
    const save = async (selector) => {
      const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
      return readFile(await download.path());
    };
    const figures = JSON.parse(await save("#export"));
    assert.ok(figures.pair_skew_us.mic0_vs_mic1.length > 5);
    assert.equal(figures.diagnostics.server.sample_rate, 48000);
    await page.selectOption("#seconds", "2");
    const wav = await save("#save-wav");
    assert.equal(wav.toString("latin1", 0, 4), "RIFF");
    assert.equal(wav.length, 68 + 2 * 48000 * 12);
    const csv = (await save("#save-csv")).toString();
    assert.match(csv, /^frame,mic0,mic1,mic2\r?\n\d+,/);
  });

  await t.test("keyboard and screen reader find everything", async () => {
    const names = await page.evaluate(() => [...document.querySelectorAll("button, select, input, a.button, canvas")].map((element) => [element.id || element.className, (element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent).trim()]));
    for (const [id, name] of names) assert.ok(name.length > 0, `${id} has no name`);
    assert.equal(await page.locator("[aria-pressed]").count(), 0, "a label that changes says it all");
    assert.match(await page.getAttribute("#skew", "aria-label"), /Now: mic 1 . mic 0.*µs/);
    assert.equal(await page.getAttribute("#announce", "aria-live"), "polite");
    assert.match(await page.locator("#announce").textContent(), /\w/);
    const reached = new Set();
    await page.evaluate(() => document.activeElement.blur());
    for (let k = 0; k < 40; k++) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => document.activeElement.id));
    }
    for (const id of ["pause", "theme", "listen", "mode", "volume", "seconds", "save-wav", "save-csv", "export", "skew", "alignment", "jitter", "drift"]) assert.ok(reached.has(id), `Tab does not reach ${id}`);
    await page.focus("#skew");
    const before = await page.evaluate(() => document.getElementById("skew").toDataURL());
    await page.keyboard.press("ArrowLeft");
    await until("a reading line", async () => (await page.evaluate(() => document.getElementById("skew").toDataURL())) !== before);
  });

  await t.test("light and dark, by the system and by the button; a phone needs no sideways scrolling", async () => {
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await screenshot(page, "dashboard-light.png", { fullPage: true });
    const light = await paper();
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await paper();
    assert.notEqual(dark, light);
    await new Promise((done) => setTimeout(done, 500));
    await screenshot(page, "dashboard-dark.png", { fullPage: true });
    await page.click("#theme");
    assert.equal(await paper(), light, "the button wins over the system");
    await page.click("#theme");
    assert.equal(await paper(), dark);
    await page.click("#theme");
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize({ width: 390, height: 844 });
    await new Promise((done) => setTimeout(done, 500));
    await screenshot(page, "dashboard-phone.png");
    const wide = await page.evaluate(() => [...document.querySelectorAll("body *")].filter((element) => !element.closest(".scroll, .unseen") && element.getBoundingClientRect().right > innerWidth + 1).map((element) => element.id || element.className || element.tagName));
    assert.deepEqual(wide, [], "nothing reaches beyond the screen");
  });

  await t.test("without a complaint of the browser or of the policy, which is in force", async () => {
    assert.deepEqual(page.complaints, []);
    await page.evaluate(() => document.body.setAttribute("style", "color: red"));
    await until("an inline style is refused", async () => page.complaints.some((text) => /policy: style-src/.test(text)));
  });
  await page.close();
  await Promise.all([stop(microphones), stop(server.child)]);
});

/**
 * Notes, by the page's own clock, when the first event with a fault came in and when the verdict named it. Runs in the page.
 * A lag is one when most packets of half a second have it, since on a busy machine some come late by more; and modulo a period,
 * since of free boards a slip may make another packet the newest of a channel.
 */
function watchForFault() {
  const LAG_US = 3000, PERIOD_US = 512e6 / 48000;
  const watch = (globalThis.watch = { from: null, faultAt: null, saidAt: null, heldUp: 0, usual: null, apart: null });
  const newest = [];
  let lastFrame = null;
  let mute = [];
  const beyond = (us) => us - watch.usual - Math.round((us - watch.usual) / PERIOD_US) * PERIOD_US;
  const lagging = () => newest.filter(({ us }) => Math.abs(beyond(us)) > LAG_US);
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const Source = EventSource;
  globalThis.EventSource = class extends Source {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        if (watch.faultAt !== null) return;
        const now = performance.now();
        const { arrival_us: [a, , c], mic_samples: heard, first_frame: first } = JSON.parse(data);
        const jumped = lastFrame !== null && first > lastFrame + 15 * 512;
        lastFrame = first;
        // One stray packet of a busy machine is no silence.
        mute = heard[1] === 0 ? [...mute, now] : [];
        if (a !== null && c !== null) {
          watch.usual ??= c - a;
          newest.push({ now, us: c - a });
          // What is usual is that of the last 10 s.
          while (newest.length > (watch.from === null ? 940 : 47)) newest.shift();
          watch.apart = median(newest.map(({ us }) => beyond(us)));
        }
        if (watch.from === null) watch.usual += watch.apart;
        else if (watch.from === "lag" && lagging().length > (newest.length * 3) / 4) watch.faultAt = lagging()[0].now;
        else if (watch.from === "loss" && jumped) watch.faultAt = now;
        else if (watch.from === "silent" && mute.length === 5) watch.faultAt = mute[0];
      });
    }
  };
  const SAID = { lag: /Mic 2 is [\d.]+ ms behind/, loss: /lost (up to )?\d\d packets each|losing packets/, silent: /Mic 1 has been silent for \d+ s/ };
  let tick = performance.now();
  setInterval(() => {
    const now = performance.now();
    // In which a busy machine let nothing of the page run; its own work between two ticks is shorter.
    if (watch.faultAt !== null && watch.saidAt === null && now - tick > 100) watch.heldUp += now - tick;
    tick = now;
    if (watch.faultAt !== null && SAID[watch.from].test(document.getElementById("verdict")?.innerText ?? "")) watch.saidAt ??= performance.now();
  }, 20);
}

// What the page has seen before, in seconds, when it goes wrong, and how. For free boards it first has to know what is usual. Their
// lag is below a period: a longer one, on a busy machine, can look like whole lost packets and a rest.
const FAULTS = [
  ["a lag", "lag", 2, 6, (at) => ["--lag", `2=7ms@${at}s..`]],
  ["a lag of a board that runs free", "lag", 12, 18, (at) => ["--boards", "3", "--ppm", "5,-5,2", "--lag", `2=7ms@${at}s..`]],
  ["a burst of losses", "loss", 2, 6, (at) => ["--drop-cycles", `20@${at}s`]],
  ["a silent microphone", "silent", 2, 6, (at) => ["--mute", `1@${at}s..`]],
];

/** A page that has watched a server for so long, before its microphones go wrong; on a busy machine they have to wait for it. */
async function watching(before, at, options) {
  const server = await serve();
  const page = await openPage(server.url, { prepare: watchForFault });
  const begun = performance.now();
  const microphones = simulate(server, "--signal", "tone", ...options(at));
  await until("live data", () => filled(page));
  await new Promise((done) => setTimeout(done, before * 1000));
  if (performance.now() - begun < (at - 1) * 1000) return { server, page, microphones };
  await page.close();
  await Promise.all([stop(microphones), stop(server.child)]);
  return watching(before, 2 * at, options);
}

for (const [name, kind, before, at, options] of FAULTS) {
  test(`${name} shows in the verdict within 2 s`, async () => {
    const { server, page, microphones } = await watching(before, at, options);
    await page.evaluate((kind) => (globalThis.watch.from = kind), kind);
    const seen = () => page.evaluate(() => globalThis.watch);
    const both = async () => Object.values(await seen()).includes(null) ? null : await seen();
    const { faultAt, saidAt, heldUp } = await until(`the verdict on ${name}`, both).catch(async (error) => {
      const { loss, cycles, arrival_skew_us } = await (await fetch(`${server.url}api/diagnostics_sync`)).json();
      console.log(JSON.stringify({ page: await seen(), verdict: await verdict(page), loss, cycles, arrival_skew_us }));
      throw error;
    });
    console.log(`${name}: said ${((saidAt - faultAt) / 1000).toFixed(2)} s after its first event, held up for ${heldUp.toFixed(0)} ms`);
    await screenshot(page, `verdict-${name.replaceAll(" ", "-")}.png`);
    assert.ok(saidAt - faultAt - heldUp <= 2000, `${(saidAt - faultAt).toFixed(0)} ms, held up for ${heldUp.toFixed(0)} ms`);
    assert.deepEqual(page.complaints, []);
    await page.close();
    await Promise.all([stop(microphones), stop(server.child)]);
  });
}

test("chunks that leave in pieces: how they are cut, and pieces lost beside chunks lost", async () => {
  const server = await serve();
  const microphones = simulate(server, "--signal", "tone", "--pieces", "1460", "--loss", "5%");
  const page = await openPage(server.url);
  const row = (name) => page.locator("#mic-table tr", { has: page.locator(`th:text-is("${name}")`) }).locator("td:not(.normal)").allTextContents();
  const each = (cells, is) => cells.length === 3 && cells.every(is);
  await until("the pieces are known", async () => each(await row("a chunk, samples"), (text) => text === "365 + 147"));
  const number = (text) => Number(text.replaceAll("\u202f", ""));
  await until("lost pieces", async () => each(await row("lost pieces"), (text) => number(text) > 0));
  assert.equal((await row("lost")).length, 3);
  await until("the verdict tells both", async () => /of [\d\u202f]+ pieces \([\d.]+ %\)/.test((await verdict(page)).text));
  assert.ok(each(await page.locator(".mic [data-of=loss]").allTextContents(), (text) => /pieces? lost in 10 s/.test(text)));
  assert.match(await page.locator("#tiles dd").nth(2).textContent(), /pieces/);
  await screenshot(page, "dashboard-pieces.png", { fullPage: true });
  assert.deepEqual(page.complaints, []);
  await page.close();
  await Promise.all([stop(microphones), stop(server.child)]);
});

test("the button calibrates free boards by claps, and says how it goes", async () => {
  const server = await serve({ args: ["--clock", "independent"] });
  const page = await openPage(server.url);
  const [button, state] = [page.locator("#calibrate"), page.locator("#calibrate-state")];
  // A browser gives up what it asks for when the machine gets or loses an interface, as other tests make them: it says so, and is asked again.
  const press = async (what, shows) => {
    await button.click();
    await until(what, async () => {
      const text = await state.textContent();
      if (/Failed to fetch/.test(text) && (await button.isEnabled())) await button.click();
      return shows.test(text);
    });
  };
  await press("why it cannot", /not all microphones are heard/);
  assert.ok(await button.isEnabled(), "it can be tried again");
  const boards = simulate(server, "--boards", "each", "--signal", "claps", "--ppm", "20,-15,3");
  await until("the clocks are known", async () => {
    const { alignment } = await (await fetch(`${server.url}api/diagnostics_sync`)).json();
    return ["mic0_vs_mic1", "mic0_vs_mic2"].every((pair) => alignment[pair].uncertainty_samples !== null && alignment[pair].uncertainty_samples < 5);
  }, 180);
  // On a busy machine boards may slip meanwhile: that is said, and it is tried again.
  let told = "";
  for (let tries = 0; tries < 4 && !/mic 1: -?[\d.]+/.test(told); tries++) {
    await press("it counts claps", /Clap about once a second.*: [1-9]\d* claps? heard/);
    assert.ok(await button.isDisabled(), "one at a time");
    await until("it is over", () => button.isEnabled(), 120);
    told = await state.textContent();
    assert.match(told, /samples|claps disagree|fewer than three claps/);
  }
  // The clapper of `simulate` (src/sim/room/array.rs) is not equally far from all: its way to mic 1 and 2 is longer. On loopback the paths
  // differ by microseconds, and the floors are learnt in seconds.
  const [from, middle, radius] = [[4.3, 3.9, 1.5], [2.2, 2.1, 1.0], 2 / Math.sqrt(3)];
  const ways = [0, 1, 2].map((mic) => (2 * Math.PI * mic) / 3).map((angle) =>
    Math.hypot(from[0] - middle[0] - radius * Math.cos(angle), from[1] - middle[1] - radius * Math.sin(angle), from[2] - middle[2]));
  const expected = [1, 2].map((mic) => ((ways[mic] - ways[0]) / 343) * 48_000);
  const moved = [...told.matchAll(/mic [12]: (-?[\d.]+) ± [\d.]+ samples/g)].map(([, samples]) => Number(samples));
  assert.equal(moved.length, 2, told);
  assert.ok(moved.every((samples, i) => Math.abs(samples - expected[i]) < 12), `${told}, expected ${expected}`);
  assert.deepEqual(page.complaints.filter((text) => !text.includes("409")), []);
  await page.context().close();
  await stop(boards);
  await stop(server.child);
});

test("the page outlives its server, and goes on by itself when that is back", async () => {
  let server = await serve();
  let microphones = simulate(server, "--signal", "tone");
  const page = await openPage(server.url);
  await until("live data", () => filled(page));
  await page.evaluate(() => (globalThis.sameDocument = true));
  await stop(server.child);
  await until("the loss of the server is said", async () => (await verdict(page)).kind === "offline");
  server = await serve({ http: server.http, ports: server.ports });
  await until("live again", async () => (await filled(page)) && (await verdict(page)).kind !== "offline");
  const events = async () => Number((await page.locator("#stream-table tr", { hasText: "events in this page" }).locator("td").first().textContent()).replaceAll("\u202f", ""));
  const before = await events();
  await until("events come again", async () => (await events()) > before + 100);
  assert.equal(await page.evaluate(() => globalThis.sameDocument), true, "not loaded anew");
  const own = page.complaints.filter((text) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/.test(text));
  assert.deepEqual(own, [], "nothing but the refused connections");
  await page.close();
  await Promise.all([stop(microphones), stop(server.child)]);
});

test("with a token, the page asks for everything with it; without, it is refused", async () => {
  const server = await serve({ args: ["--token", "a+b/c="] });
  const microphones = simulate(server, "--signal", "tone");
  assert.equal((await fetch(server.url)).status, 401);
  const page = await openPage(`${server.url}?token=${encodeURIComponent("a+b/c=")}`);
  await until("live data", () => filled(page));
  assert.match(await page.getAttribute("#save-wav", "href"), /token=a%2Bb%2Fc%3D/);
  assert.deepEqual(page.complaints, []);
  await page.close();
  await Promise.all([stop(microphones), stop(server.child)]);
});

/** A client as they were written for the old server: five keys, nothing else. */
const OLD_CLIENT = `<!doctype html><title>old</title><button id="play">play</button><script>
document.getElementById("play").onclick = async function () {
  var context = new AudioContext(), at = 0;
  var analysers = [0, 1, 2].map(function () { return context.createAnalyser(); });
  await context.resume();
  var source = new EventSource(location.hash.slice(1));
  window.devices = new Set();
  source.onmessage = function (message) {
    var event = JSON.parse(message.data);
    window.devices.add(event.device_id);
    var binary = atob(event.data), bytes = new Uint8Array(binary.length);
    for (var i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    var view = new DataView(bytes.buffer), width = event.bits / 8, frames = bytes.length / width / event.channels;
    var buffer = context.createBuffer(event.channels, frames, event.sample_rate);
    for (var c = 0; c < event.channels; c++)
      for (var f = 0; f < frames; f++) buffer.getChannelData(c)[f] = view.getInt32((f * event.channels + c) * width, true) / 2147483648;
    var node = context.createBufferSource(), splitter = context.createChannelSplitter(event.channels);
    node.buffer = buffer;
    node.connect(splitter);
    analysers.forEach(function (analyser, c) { splitter.connect(analyser, c); });
    at = Math.max(at, context.currentTime + 0.1);
    node.start(at);
    at += buffer.duration;
  };
};
</script>`;

test("an EventSource client written against the old keys plays the stream unchanged", async (t) => {
  const server = await serve();
  const microphones = simulate(server, "--signal", "tone");
  const site = http.createServer((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end(OLD_CLIENT));
  await new Promise((done) => site.listen(0, "127.0.0.1", done));
  t.after(() => {
    site.close();
    site.closeAllConnections();
  });
  // Another origin, as the old clients were: CORS is part of what is kept.
  const page = await openPage(`http://127.0.0.1:${site.address().port}/#${server.url}api/stream_3ch`, { prepare: collectAnalysers });
  await page.click("#play");
  await until("the tone on all three channels", async () => {
    const levels = await loudness(page);
    return levels.length === 3 && levels.every((level) => Math.abs(level - TONE_RMS) < 0.03);
  });
  assert.deepEqual(await page.evaluate(() => [...globalThis.devices]), ["3ch-assembled"]);
  await page.close();
  await Promise.all([stop(microphones), stop(server.child)]);
});

test("a screen reader hears of another microphone, and not every second", async (t) => {
  const fake = await startFake();
  t.after(fake.close);
  const page = await openPage(`http://127.0.0.1:${fake.port}/`);
  await page.evaluate(() => {
    globalThis.said = [];
    new MutationObserver(() => globalThis.said.push(document.getElementById("announce").textContent)).observe(document.getElementById("announce"), { childList: true, characterData: true, subtree: true });
  });
  const said = (what) => until(`it is said: ${what}`, () => page.evaluate((what) => globalThis.said.some((text) => text.startsWith(what)), what));
  const silence = (...mics) => {
    fake.state.missing = mics;
    fake.state.silent = [0, 1, 2].map((mic) => (mics.includes(mic) ? 2.5 : 0.004));
  };
  silence(1);
  await said("Mic 1 has been silent");
  fake.state.silent[1] = 7.5;
  await new Promise((done) => setTimeout(done, 5000));
  silence(1, 2);
  await said("Mics 1 and 2 have been silent");
  const silences = await page.evaluate(() => globalThis.said.filter((text) => text.includes("silent")).length);
  assert.equal(silences, 2);
  await page.close();
});

test("an accelerated run: memory and document do not grow", async (t) => {
  const fake = await startFake({ speed: 12 });
  t.after(fake.close);
  const page = await openPage(`http://127.0.0.1:${fake.port}/`);
  const devtools = await page.context().newCDPSession(page);
  const size = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    const { usedSize } = await devtools.send("Runtime.getHeapUsage");
    const { nodes, jsEventListeners } = await devtools.send("Memory.getDOMCounters");
    const events = await page.evaluate(() => document.querySelector("#stream-table").innerText.replaceAll("\u202f", "").match(/events in this page\s+(\d+)/)?.[1] ?? 0);
    return { heap: usedSize, nodes, listeners: jsEventListeners, events: Number(events) };
  };
  // Caches and compiled code settle in the first minutes of the page's time.
  await until("two minutes' events", async () => (await size()).events > 120 * 94, 200);
  const before = await size();
  await until("eight more minutes' events", async () => (await size()).events > 600 * 94, 200);
  const later = await size();
  console.log(`after ${before.events} events ${(before.heap / 1e6).toFixed(2)} MB and ${before.nodes} nodes, after ${later.events} ${(later.heap / 1e6).toFixed(2)} MB and ${later.nodes} nodes`);
  assert.ok(later.heap - before.heap < 1.5e6, "heap");
  assert.ok(later.nodes <= before.nodes + 50, "nodes");
  assert.ok(later.listeners <= before.listeners + 5, "listeners");
  assert.deepEqual(page.complaints, []);
  await page.close();
});
