// What the browser tests stand on: the real server, virtual microphones, headless Chromium. Ports are the kernel's choice.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import path from "node:path";

const ROOT = path.resolve(fileURLToPath(new URL("../..", import.meta.url)));
const BIN = process.env.MICRING_BIN ?? path.join(ROOT, "target/release/micring");
export const ARTIFACTS = path.join(ROOT, "artifacts");
mkdirSync(ARTIFACTS, { recursive: true });

const { chromium } = createRequire(path.join(process.env.PAGE_TEST_MODULES ?? path.join(ROOT, "target/page-tests"), "package.json"))("playwright-core");

const children = new Set();

function start(args) {
  const child = spawn(BIN, args, { stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  // The browser shares two cores with them: it should wait, not the microphones. Only root may ask for that.
  try {
    setPriority(child.pid, -10);
  } catch {}
  child.ended = new Promise((done) => child.once("exit", done)).then(() => children.delete(child));
  child.errors = "";
  child.stderr.on("data", (text) => (child.errors = (child.errors + text).slice(-4000)));
  return child;
}

export async function stop(child) {
  if (child.exitCode === null) child.kill("SIGTERM");
  await child.ended;
}

/** `micring serve`, ready, with the arrays of a configuration where there is one. `http` is `ADDR:PORT`, `ports` those of the microphones. */
export async function serve({ http = "127.0.0.1:0", ports = [0, 0, 0], config = null, args = [] } = {}) {
  const heard = config === null ? ["--mic-ports", ports.join(",")] : ["--config", config];
  const child = start(["serve", "--core", "none", "--http", http, ...heard, ...args]);
  const ready = await Promise.race([
    new Promise((done) => createInterface(child.stdout).once("line", (line) => done(JSON.parse(line)))),
    child.ended.then(() => assert.fail(`serve ended: ${child.errors}`)),
  ]);
  return { child, http: ready.http, arrays: ready.arrays, url: `http://${ready.http}/`, ports: ready.mics.map((mic) => Number(mic.split(":").at(-1))) };
}

/** `micring simulate` against a server: until it is stopped. */
export function simulate(server, ...args) {
  return start(["simulate", "--core", "none", "--mic-ports", server.ports.join(","), ...args]);
}

let browser = null;

/** A page, with all that it complains of in `page.complaints`. */
export async function openPage(url, { width = 1360, height = 1000, theme = "light", prepare } = {}) {
  browser ??= await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // A machine without a sound card has a sink that takes everything; a click starts the sound, as it does for people.
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"],
  });
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, acceptDownloads: true });
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => page.complaints.push(String(error.stack)));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  if (prepare) await page.addInitScript(prepare);
  await page.goto(url);
  return page;
}

export async function closeAll() {
  await browser?.close();
  browser = null;
  await Promise.all([...children].map(stop));
}

/** Asks `probe` again and again until it gives something true; fails with `what` after `seconds`: patience with a busy machine. */
export async function until(what, probe, seconds = 60) {
  const end = performance.now() + seconds * 1000;
  let last;
  for (;;) {
    last = await probe();
    if (last) return last;
    if (performance.now() > end) assert.fail(`not within ${seconds} s: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** The verdict's kind, and all of its text. */
export function verdict(page) {
  return page.evaluate(() => {
    const section = document.getElementById("verdict");
    return { kind: section.dataset.kind, level: section.dataset.level, text: section.innerText };
  });
}

export function screenshot(page, name, options = {}) {
  return page.screenshot({ path: path.join(ARTIFACTS, name), ...options });
}
