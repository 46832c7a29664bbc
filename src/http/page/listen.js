// Listening live: channels arrive in pieces, unevenly, and have to leave evenly.
//
// A small buffer of our own: pieces of 43 ms are scheduled one after the other, a little ahead of the context's clock. The
// sound card's clock and the microphones' are not the same, so the distance is kept by playing up to 0.5 % faster or slower.
// Scheduled buffers and no AudioWorklet: a worklet needs a secure context, which a phone that opens http://192.168.0.5:5000 has not.

import { MICS } from "./format.js";

const PIECE_FRAMES = 2048;
/** How far ahead pieces are scheduled, in seconds: less, and a late packet is heard as a gap. */
const AHEAD_S = 0.15;
/** Beyond this, pieces are left out until it is reached again. */
const TOO_FAR_S = 0.6;
const MOST_TRIM = 0.005;

export class Player {
  #context = null;
  #piece = null;
  #filled = 0;
  #next = 0;
  #gains = [];
  #splitter = null;
  #volume = null;
  #mode = "all";
  #decibels = 0;
  underruns = 0;
  leftOut = 0;
  /** An analyser of each channel, for whoever wants to see what is heard. */
  analysers = [];

  get playing() {
    return this.#context !== null;
  }

  /** Seconds of sound that are waiting. */
  get ahead() {
    return this.#context === null ? 0 : Math.max(0, this.#next - this.#context.currentTime);
  }

  /** Call it from a click: browsers let no page sound by itself. */
  async start(sampleRate) {
    const context = new AudioContext({ sampleRate, latencyHint: "interactive" });
    this.#context = context;
    this.#piece = context.createBuffer(MICS, PIECE_FRAMES, sampleRate);
    this.#filled = 0;
    this.#next = 0;
    this.underruns = 0;
    this.leftOut = 0;
    this.#volume = context.createGain();
    this.#volume.connect(context.destination);
    this.#splitter = context.createChannelSplitter(MICS);
    this.#gains = [];
    this.analysers = [];
    for (let mic = 0; mic < MICS; mic++) {
      const gain = context.createGain();
      const place = context.createStereoPanner();
      const analyser = context.createAnalyser();
      analyser.fftSize = 2048;
      this.#splitter.connect(gain, mic);
      gain.connect(analyser).connect(place).connect(this.#volume);
      this.#gains.push({ gain, place });
      this.analysers.push(analyser);
    }
    this.#apply();
    await context.resume();
  }

  async stop() {
    const context = this.#context;
    this.#context = null;
    this.analysers = [];
    await context?.close();
  }

  /** `all`: from mic 0 on the left to the last on the right; or a number: that one, in the middle. */
  set mode(mode) {
    this.#mode = mode;
    this.#apply();
  }

  /** Volume in decibels: microphones are quiet. */
  set decibels(db) {
    this.#decibels = db;
    this.#apply();
  }

  #apply() {
    if (this.#context === null) return;
    const now = this.#context.currentTime;
    this.#volume.gain.setTargetAtTime(10 ** (this.#decibels / 20), now, 0.02);
    this.#gains.forEach(({ gain, place }, mic) => {
      const all = this.#mode === "all";
      gain.gain.setTargetAtTime(all || this.#mode === String(mic) ? 1 : 0, now, 0.02);
      place.pan.setTargetAtTime(all && MICS > 1 ? (2 * mic) / (MICS - 1) - 1 : 0, now, 0.02);
    });
  }

  /** Takes interleaved samples; they are read before it returns. */
  push(samples) {
    if (this.#context === null) return;
    for (let from = 0; from < samples.length / MICS; ) {
      const frames = Math.min(samples.length / MICS - from, PIECE_FRAMES - this.#filled);
      for (let mic = 0; mic < MICS; mic++) {
        const channel = this.#piece.getChannelData(mic);
        for (let k = 0; k < frames; k++) channel[this.#filled + k] = samples[(from + k) * MICS + mic] / 2147483648;
      }
      this.#filled += frames;
      from += frames;
      if (this.#filled === PIECE_FRAMES) this.#schedule();
    }
  }

  #schedule() {
    const context = this.#context;
    const piece = this.#piece;
    this.#piece = context.createBuffer(MICS, PIECE_FRAMES, piece.sampleRate);
    this.#filled = 0;
    if (context.state !== "running") return;
    const ahead = this.#next - context.currentTime;
    if (ahead < 0.005) {
      if (this.#next > 0) this.underruns += 1;
      this.#next = context.currentTime + AHEAD_S;
    } else if (ahead > TOO_FAR_S) {
      this.leftOut += 1;
      return;
    }
    const error = this.#next - context.currentTime - AHEAD_S;
    const rate = 1 + (Math.abs(error) < 0.04 ? 0 : Math.min(MOST_TRIM, Math.max(-MOST_TRIM, error * 0.05)));
    const source = context.createBufferSource();
    source.buffer = piece;
    source.playbackRate.value = rate;
    source.connect(this.#splitter);
    source.onended = () => source.disconnect();
    source.start(this.#next);
    this.#next += PIECE_FRAMES / piece.sampleRate / rate;
  }
}
