// A stand-in for the server, for what the real one cannot be made to do: an hour of events in half a minute.
//
// It serves the page's files as the server does (same policy), and a stream and figures of the same shape with known contents.

import http from "node:http";
import { readFileSync } from "node:fs";

const PAGE = new URL("../../src/http/page/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8" };
export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; media-src 'self' blob:";
const FRAMES = 512;

/** An event of the stream: a tone of another pitch on each microphone. */
export function cycleEvent(id, { lag = [0, 0, 0], missing = [] } = {}) {
  const samples = Buffer.alloc(FRAMES * 12);
  for (let frame = 0; frame < FRAMES; frame++) {
    for (let mic = 0; mic < 3; mic++) {
      const turn = ((id * FRAMES + frame) / 48000) * 220 * (mic + 2);
      const swell = 0.1 + 0.08 * Math.sin(id / 40 + mic);
      const value = missing.includes(mic) ? 0 : Math.sin(2 * Math.PI * turn) * swell * 2 ** 31;
      samples.writeInt32LE(Math.round(value), (frame * 3 + mic) * 4);
    }
  }
  const base = 1_795_345_500_000_000 + Math.round(id * 10_666.667);
  return {
    device_id: "3ch-assembled", sample_rate: 48000, channels: 3, bits: 32, format: "s32le", timestamp: "2026-11-22 11:05:00",
    data: samples.toString("base64"), first_frame: id * FRAMES, frames: FRAMES,
    mic_samples: [0, 1, 2].map((mic) => (missing.includes(mic) ? 0 : FRAMES)),
    arrival_us: [0, 1, 2].map((mic) => (missing.includes(mic) ? null : base + mic * 100 + Math.round(20 * Math.sin(id * 0.7 + mic)) + lag[mic])),
  };
}

/** The figures after `cycles` cycles. */
export function figures(cycles, uptime, { lost = [0, 0, 0], lostPieces = [0, 0, 0], pieces = [FRAMES], silent = [0.004, 0.004, 0.004], clock = "shared", ppm = (a, b) => 0.01 * (a - b) } = {}) {
  const perMic = (of) => ({ mic0: of(0), mic1: of(1), mic2: of(2) });
  const perPair = (of) => ({ mic0_vs_mic1: of(0, 1), mic0_vs_mic2: of(0, 2), mic1_vs_mic2: of(1, 2) });
  // Packets are datagrams, cycles and what is lost chunks.
  const received = [0, 1, 2].map((mic) => (cycles - lost[mic]) * pieces.length - lostPieces[mic]);
  const delay = (p50) => ({ p50, p99: p50 * 2.5, p999: p50 * 4, max: p50 * 9, count: cycles });
  const sheet = {
    synchronization_status: {
      buffer_packets: { mic0: 468, mic1: 468, mic2: 467 },
      buffer_packet_diffs: { mic0_vs_mic1: 0, mic0_vs_mic2: 1, mic1_vs_mic2: 1 },
      thread_scheduling_offset: {
        mic01_offset_us: 100, mic01_offset_samples: 4, mic01_offset_ms: 0.1, mic02_offset_us: 200, mic02_offset_samples: 9, mic02_offset_ms: 0.2,
      },
    },
    packet_stats: { packets_received: received, packet_errors: [0, 0, 0], total_samples: lost.map((n) => (cycles - n) * FRAMES) },
    server: { version: "0.0.0", uptime_s: uptime, core: 1, clock, hold_us: 40000, sample_rate: 48000, kernel: "6.18", chunk: perMic(() => ({ samples: FRAMES, pieces })) },
    arrival_skew_us: perPair((a, b) => ({
      last: (b - a) * 100, min: (b - a) * 80, p50: (b - a) * 100, p90: (b - a) * 110, p99: (b - a) * 130, p999: (b - a) * 150, max: (b - a) * 300,
      mean: (b - a) * 100, count: cycles, trend_us_per_min: 0.4, trend_uncertainty_us_per_min: 1.1,
    })),
    loop_delay_us: perMic((mic) => delay(18 + mic)),
    loop_skew_us: delay(6),
    emit_delay_us: delay(31),
    jitter_us: perMic((mic) => 40 + 10 * mic + 6 * Math.sin(uptime / 3 + mic)),
    clock_drift_ppm: {
      ...perMic((mic) => ({ ppm: 12.3 + mic / 50, uncertainty_ppm: 0.4, span_s: uptime })),
      ...perPair((a, b) => ({ ppm: ppm(a, b), uncertainty_ppm: 0.03 + 3 / (uptime + 1), span_s: uptime })),
    },
    alignment: perPair((a, b) => ({
      offset_us: (b - a) * 4, uncertainty_us: 3, offset_samples: (b - a) * 0.2, uncertainty_samples: 0.14, leaves_out: "the paths",
    })),
    loss: perMic((mic) => ({
      lost: lost[mic], lost_pieces: lostPieces[mic], late: 0, duplicate: 0, foreign: 0, truncated: 0, malformed: 0, kernel_dropped: 0, sender_changes: 0, slips: 0, corrected: 0, unstamped: 0,
    })),
    cycles: { emitted: cycles, complete: cycles, incomplete: 0, skipped: 0 },
    stream: { subscribers: 1, events_sent: cycles, events_dropped: 0, bytes_sent: cycles * 8600, resumed: 0 },
    silent_s: perMic((mic) => silent[mic]),
  };
  return { ...sheet, window: sheet };
}

export function metrics(cycles) {
  const le = ["0.00001", "0.00002", "0.00005", "0.0001", "0.0002", "0.0005", "0.001", "+Inf"];
  const shares = [0.05, 0.4, 0.8, 0.95, 0.99, 0.998, 1, 1];
  const lines = [];
  for (const mic of [0, 1, 2]) le.forEach((bound, i) => lines.push(`micring_loop_delay_seconds_bucket{mic="${mic}",le="${bound}"} ${Math.round(cycles * shares[i])}`));
  le.forEach((bound, i) => lines.push(`micring_loop_skew_seconds_bucket{le="${bound}"} ${Math.round(cycles * shares[Math.min(7, i + 1)])}`));
  return `${lines.join("\n")}\n`;
}

/**
 * Listens on loopback; `speed` is in times of real time; `arrays` is what `/api/arrays` tells.
 * @returns {Promise<{port: number, state: object, sent: () => number, close: () => void}>}
 */
export async function startFake({ port = 0, speed = 1, arrays = null } = {}) {
  const state = { lag: [0, 0, 0], missing: [], lost: [0, 0, 0], silent: [0.004, 0.004, 0.004] };
  const started = performance.now();
  const streams = new Set();
  let cycles = 0;
  // Encoded once and sent again: what is measured is the page. The positions go on all the same.
  const bodies = Array.from({ length: 94 }, (_, id) => cycleEvent(id));
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - started) / 1000) * 93.75 * speed);
    for (; cycles < due; cycles++) {
      const fresh = speed === 1 ? cycleEvent(cycles, state) : { ...bodies[cycles % bodies.length], first_frame: cycles * FRAMES };
      const text = `id: ${cycles}\ndata: ${JSON.stringify(fresh)}\n\n`;
      for (const stream of streams) stream.write(text);
    }
  }, 5);
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://fake");
    const json = (body) => response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    const uptime = (performance.now() - started) / 1000;
    if (pathname === "/api/stream_3ch") {
      response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      response.write("retry: 1000\n\n");
      streams.add(response);
      request.on("close", () => streams.delete(response));
    } else if (pathname === "/api/arrays") json({ arrays: arrays ?? [{ name: "default", channels: 3, sample_rate: 48000 }] });
    else if (pathname === "/api/diagnostics_sync") json(figures(cycles, uptime, state));
    else if (pathname === "/metrics") response.end(metrics(cycles));
    else {
      const name = pathname === "/" ? "index.html" : pathname.slice(1);
      const type = TYPES[name.split(".").pop()];
      if (!/^\w+\.\w+$/.test(name) || type === undefined) return void response.writeHead(404).end();
      response.writeHead(200, { "Content-Type": type, "Content-Security-Policy": POLICY }).end(readFileSync(new URL(name, PAGE)));
    }
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  const close = () => {
    clearInterval(timer);
    server.close();
    server.closeAllConnections();
  };
  return { port: server.address().port, state, sent: () => cycles, close };
}
