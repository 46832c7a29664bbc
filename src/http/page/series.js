// Pictures need the recent past, and the page may stay open for weeks: everything kept here has a fixed size.
//
// Typed arrays, allocated once, written round and round. No DOM, no clock: the time of a value is an argument.

/** Values gathered into steps of time: smallest, largest and mean of each step and lane; what is older than `length` steps is forgotten. */
export class Buckets {
  /**
   * @param {number} stepMs width of a step, in milliseconds
   * @param {number} length steps that are kept
   * @param {number} lanes independent series
   */
  constructor(stepMs, length, lanes) {
    this.stepMs = stepMs;
    this.length = length;
    this.lanes = lanes;
    this.head = null; // The newest step, counted from time 0; null while empty.
    this.first = null; // The step that was the first ever.
    this.min = new Float32Array(length * lanes);
    this.max = new Float32Array(length * lanes);
    this.sum = new Float64Array(length * lanes);
    this.count = new Uint32Array(length * lanes);
  }

  /** Adds `value` to `lane` at `timeMs`. A time before the kept past, or a value that is no number, is ignored. */
  add(timeMs, lane, value) {
    if (!Number.isFinite(value)) return;
    const step = Math.floor(timeMs / this.stepMs);
    this.advance(timeMs);
    if (step <= this.head - this.length) return;
    const i = this.#index(step, lane);
    if (this.count[i] === 0 || value < this.min[i]) this.min[i] = value;
    if (this.count[i] === 0 || value > this.max[i]) this.max[i] = value;
    this.sum[i] += value;
    this.count[i] += 1;
  }

  /** Lets time go on to `timeMs`: the steps between have no values. */
  advance(timeMs) {
    const step = Math.floor(timeMs / this.stepMs);
    if (this.head === null) this.head = this.first = step;
    const fresh = Math.min(step - this.head, this.length);
    for (let k = 0; k < fresh; k++) this.count.fill(0, this.#index(step - k, 0), this.#index(step - k, 0) + this.lanes);
    for (let k = 0; k < fresh; k++) this.sum.fill(0, this.#index(step - k, 0), this.#index(step - k, 0) + this.lanes);
    if (fresh > 0) this.head = step;
  }

  clear() {
    this.count.fill(0);
    this.sum.fill(0);
    this.head = this.first = null;
  }

  /** How many steps a picture should show: the fewest of the shares of `length` that hold all since the first value. */
  span(shares = [0.25, 0.5, 1]) {
    const known = this.head === null ? 0 : this.head - this.first + 1;
    return this.length * (shares.find((share) => known <= this.length * share) ?? 1);
  }

  /** Index of the step `age` steps before the newest, into `min`, `max`, `sum`, `count`; -1 where nothing is known. */
  at(age, lane) {
    if (this.head === null || age < 0 || age >= this.length) return -1;
    const i = this.#index(this.head - age, lane);
    return this.count[i] > 0 ? i : -1;
  }

  mean(age, lane) {
    const i = this.at(age, lane);
    return i < 0 ? null : this.sum[i] / this.count[i];
  }

  /** Sum of the values of the newest `steps` steps. */
  total(steps, lane) {
    let total = 0;
    for (let age = 0; age < Math.min(steps, this.length); age++) {
      const i = this.at(age, lane);
      if (i >= 0) total += this.sum[i];
    }
    return total;
  }

  /** Median of the means of the steps of ages `from` up to `to` (exclusive), each plus `correction` of its age; null where fewer than `least` have values. */
  median(from, to, lane, least = 1, correction = () => 0) {
    const means = [];
    for (let age = from; age < Math.min(to, this.length); age++) {
      const mean = this.mean(age, lane);
      if (mean !== null) means.push(mean + correction(age));
    }
    if (means.length < least) return null;
    means.sort((a, b) => a - b);
    const middle = means.length >> 1;
    return means.length % 2 ? means[middle] : (means[middle - 1] + means[middle]) / 2;
  }

  copy() {
    const copy = new Buckets(this.stepMs, this.length, this.lanes);
    copy.head = this.head;
    copy.first = this.first;
    for (const key of ["min", "max", "sum", "count"]) copy[key].set(this[key]);
    return copy;
  }

  #index(step, lane) {
    return (((step % this.length) + this.length) % this.length) * this.lanes + lane;
  }
}

/** What a column of a waveform holds. */
export const UNKNOWN = 0;
export const HEARD = 1;
export const MISSING = 2;

/** The sound of the last seconds by frame position: an envelope (smallest and largest sample of each column), and the newest frames themselves. */
export class Wave {
  /**
   * @param {number} mics
   * @param {number} columns of the envelope that are kept
   * @param {number} columnFrames frames a column
   * @param {number} rawFrames newest frames that are kept whole
   */
  constructor(mics, columns, columnFrames, rawFrames) {
    this.mics = mics;
    this.columns = columns;
    this.columnFrames = columnFrames;
    this.rawFrames = rawFrames;
    this.end = null; // Position after the newest frame; null while empty.
    this.min = new Float32Array(columns * mics);
    this.max = new Float32Array(columns * mics);
    this.state = new Uint8Array(columns * mics);
    this.raw = new Float32Array(rawFrames * mics);
  }

  /**
   * Takes a cycle.
   * @param {number} first position of its first frame
   * @param {Int32Array} samples interleaved
   * @param {number[]} heard frames that each microphone really has; the rest of its samples are filler
   */
  add(first, samples, heard) {
    const { mics, columnFrames } = this;
    const frames = samples.length / mics;
    if (this.end === null || first < this.end || first - this.end > this.columns * columnFrames) this.#restart(first);
    for (let at = this.end; at < first; ) at = this.#fill(at, Math.min(first, this.#columnEnd(at)), null, 0, 0);
    for (let at = first; at < first + frames; ) {
      at = this.#fill(at, Math.min(first + frames, this.#columnEnd(at)), samples, first, heard);
    }
    this.end = first + frames;
  }

  clear() {
    this.#restart(null);
  }

  /** Index into `min`, `max` and `state` of the column `age` columns before the newest; -1 where there is none. */
  at(age, mic) {
    if (this.end === null || age < 0 || age >= this.columns) return -1;
    const column = Math.floor((this.end - 1) / this.columnFrames) - age;
    const i = this.#index(column, mic);
    return this.state[i] === UNKNOWN ? -1 : i;
  }

  /** The frame `age` frames before the newest, -1 to 1; 0 where there is none. */
  sample(age, mic) {
    if (this.end === null || age >= this.rawFrames) return 0;
    const position = this.end - 1 - age;
    return this.raw[(((position % this.rawFrames) + this.rawFrames) % this.rawFrames) * this.mics + mic];
  }

  copy() {
    const copy = new Wave(this.mics, this.columns, this.columnFrames, this.rawFrames);
    copy.end = this.end;
    for (const key of ["min", "max", "state", "raw"]) copy[key].set(this[key]);
    return copy;
  }

  #restart(first) {
    this.state.fill(UNKNOWN);
    this.raw.fill(0);
    this.end = first;
  }

  /** Frames `from` up to `to`, inside one column; without samples they are missing. Gives `to`. */
  #fill(from, to, samples, first, heard) {
    const { mics, rawFrames } = this;
    const column = Math.floor(from / this.columnFrames);
    const fresh = from === column * this.columnFrames;
    for (let mic = 0; mic < mics; mic++) {
      const i = this.#index(column, mic);
      if (fresh) this.state[i] = UNKNOWN;
      const end = samples === null ? from : Math.min(to, first + heard[mic]);
      let min = this.state[i] === UNKNOWN ? Infinity : this.min[i];
      let max = this.state[i] === UNKNOWN ? -Infinity : this.max[i];
      for (let at = from; at < end; at++) {
        const value = samples[(at - first) * mics + mic] / 2147483648;
        if (value < min) min = value;
        if (value > max) max = value;
        this.raw[(at % rawFrames) * mics + mic] = value;
      }
      for (let at = Math.max(from, end); at < to; at++) this.raw[(at % rawFrames) * mics + mic] = 0;
      const missing = end < to || this.state[i] === MISSING;
      this.min[i] = min === Infinity ? 0 : min;
      this.max[i] = max === -Infinity ? 0 : max;
      this.state[i] = missing ? MISSING : HEARD;
    }
    return to;
  }

  #columnEnd(at) {
    return (Math.floor(at / this.columnFrames) + 1) * this.columnFrames;
  }

  #index(column, mic) {
    return (((column % this.columns) + this.columns) % this.columns) * this.mics + mic;
  }
}

/** Loudness of one microphone: mean square with the 125 ms of a sound level meter's "fast" (IEC 61672-1), and the peak, held for 1.5 s. */
export class Level {
  constructor() {
    this.meanSquare = null;
    this.peak = 0;
    this.peakTime = -Infinity;
    this.heardTime = -Infinity;
  }

  /** Nothing was heard now: after half a second the level is unknown, not the last one. */
  miss(nowMs) {
    if (nowMs - this.heardTime > 500) this.meanSquare = null;
  }

  add(meanSquare, peak, seconds, nowMs) {
    this.heardTime = nowMs;
    const keep = Math.exp(-seconds / 0.125);
    this.meanSquare = this.meanSquare === null ? meanSquare : keep * this.meanSquare + (1 - keep) * meanSquare;
    if (peak >= this.peak || nowMs - this.peakTime > 1500) {
      this.peak = peak;
      this.peakTime = nowMs;
    }
  }

  /** Decibels below full scale, root mean square; null before a first sample, -Infinity for digital silence. */
  get rmsDb() {
    return this.meanSquare === null ? null : 10 * Math.log10(this.meanSquare);
  }

  get peakDb() {
    return this.meanSquare === null ? null : 20 * Math.log10(this.peak);
  }

  copy() {
    return Object.assign(new Level(), this);
  }
}
