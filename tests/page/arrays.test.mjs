// The overview of all arrays, and the page of each, in a real browser.

import test, { after } from "node:test";
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { closeAll, openPage, screenshot, serve, simulate, stop, until, verdict } from "./harness.mjs";
import { startFake } from "./fake.mjs";
import { judged, ranked } from "../../src/http/page/ranking.js";

after(closeAll);

const told = (name, more = {}) => ({
  name, channels: 3, sample_rate: 48000, health: { ok: true, reason: null }, senders: ["10.0.0.1:9", null, null],
  level_dbfs: -20, silent_s: 0.01, loss: { lost: 0, of: 2800, reason: null }, ...more,
});

test("the worst array stands first, and unknown is not healthy", () => {
  const arrays = [
    told("well"),
    told("losing", { loss: { lost: 3, of: 2800, reason: null } }),
    told("unknown", { loss: { lost: null, of: null, reason: "arrivals cannot number them" } }),
    told("losing more", { loss: { lost: 300, of: 2800, reason: null } }),
    told("broken", { health: { ok: false, reason: "mic 1 has been silent for 3 s" } }),
    told("never heard", { silent_s: null, health: { ok: false, reason: "no packet" } }),
  ];
  const names = ranked(arrays).map(({ array }) => array.name);
  assert.deepEqual(names, ["broken", "losing more", "losing", "never heard", "unknown", "well"]);
  assert.equal(judged(arrays[4]).text, "mic 1 has been silent for 3 s");
});

/** The tiles as they stand: name and level. */
function tiles(page) {
  return page.evaluate(() => [...document.querySelectorAll("#arrays li")].map((item) => [item.querySelector("a").textContent, item.dataset.level]));
}

test("arrays of sixteen, eight, four and one channels have an overview, and each its page", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "micring-page-"));
  const sources = { sixteen: [16, 16], eight: [1, 8], boards: [2, 4], one: [1, 1] };
  const entry = ([name, [ports, channels]]) => `[[array]]\nname = "${name}"\nports = [${Array(ports).fill(0)}]\nchannels = ${channels}\n`;
  await writeFile(path.join(folder, "arrays.toml"), Object.entries(sources).map(entry).join("\n"));
  const server = await serve({ config: path.join(folder, "arrays.toml") });
  const play = (name) => {
    const [, channels] = sources[name];
    const { mics } = server.arrays.find((array) => array.name === name);
    const ports = mics.map((mic) => Number(mic.split(":").at(-1)));
    // Of eight channels so many are one datagram.
    return simulate({ ports }, "--channels", String(channels), "--signal", "tone", "--samples", channels === 8 ? "128" : "512");
  };
  const microphones = Object.fromEntries(Object.keys(sources).map((name) => [name, play(name)]));
  const page = await openPage(server.url);

  await t.test("a tile for each", async () => {
    await until("all are well", async () => (await tiles(page)).length === 4 && (await tiles(page)).every(([, level]) => level === "good"));
    const texts = await page.locator("#arrays li").allInnerTexts();
    assert.match(texts.find((text) => text.startsWith("sixteen")), /1[45]\.\d dBFS[^]*nothing lost[^]*16 channels, 48 kHz, 127\.0\.0\.1/);
    await screenshot(page, "page-arrays.png");
  });

  await t.test("the one that falls silent comes to the front", async () => {
    await stop(microphones.boards);
    await until("boards first, and bad", async () => String((await tiles(page))[0]) === "boards,bad");
    assert.match(await page.textContent("#all-headline"), /1 of 4 arrays/);
  });

  for (const [name, [, channels]] of Object.entries(sources)) {
    if (name === "boards") continue;
    await t.test(`${name}: a page of ${channels} channels`, async () => {
      const own = await openPage(server.url, { height: 1600 });
      await until("the tile", async () => (await tiles(own)).some(([tile]) => tile === name));
      await own.click(`#arrays a:text-is("${name}")`);
      await until("levels of all", async () => {
        const levels = await own.locator(".mic .level").allTextContents();
        return levels.length === channels && levels.every((text) => /15\.1 dBFS/.test(text));
      });
      await until("a verdict of live figures", async () => !["offline", "waiting", "stalled", undefined].includes((await verdict(own)).kind));
      assert.equal(await own.locator("#mic-table thead th").count(), channels + 2);
      assert.equal(await own.locator("#skew-table tbody tr").count(), channels === 1 ? 0 : channels - 1);
      await until("histograms", () => own.evaluate(() => document.querySelector('.legend[data-of="delays"] b').textContent.startsWith("p50")));
      const wav = await own.getAttribute("#save-wav", "href");
      const body = Buffer.from(await (await fetch(new URL(wav, server.url))).arrayBuffer());
      assert.equal(body.readUInt16LE(22), channels, "channels of the WAV");
      await screenshot(own, `page-array-${name}.png`);
      assert.deepEqual(own.complaints, []);
    });
  }
  assert.deepEqual(page.complaints, []);
  await Promise.all(Object.values(microphones).map(stop));
  await stop(server.child);
  await rm(folder, { recursive: true });
});

test("four hundred arrays: one request a second, and tiles that do not change are not touched", async () => {
  const arrays = Array.from({ length: 400 }, (_, k) => told(`room-${k}`));
  const fake = await startFake({ arrays });
  const page = await openPage(`http://127.0.0.1:${fake.port}/`);
  await until("all are there", async () => (await tiles(page)).length === 400);
  await page.evaluate(() => {
    globalThis.changes = [];
    new MutationObserver((list) => globalThis.changes.push(...list.map(({ target }) => target.closest?.("li")?.querySelector("a").textContent ?? target.nodeName)))
      .observe(document.getElementById("arrays"), { subtree: true, childList: true, attributes: true, characterData: true });
    globalThis.asked = () => performance.getEntriesByType("resource").filter(({ name }) => name.includes("/api/")).length;
  });
  const before = await page.evaluate(() => globalThis.asked());
  arrays[399].loss.lost = 7;
  await until("the one that loses is first", async () => (await tiles(page))[0][0] === "room-399");
  await until("three more answers", async () => (await page.evaluate(() => globalThis.asked())) >= before + 4);
  const changes = await page.evaluate(() => globalThis.changes);
  assert.ok(changes.length <= 10, `${changes.length} changes: ${changes.slice(0, 20)}`);
  assert.deepEqual(new Set(changes), new Set(["room-399", "UL"]));
  assert.deepEqual(page.complaints, []);
  fake.close();
});
