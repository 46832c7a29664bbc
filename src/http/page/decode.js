// What the server sends, turned into numbers: base64 samples, and the histograms of the Prometheus text.
//
// 94 events a second carry 8 KB of base64 each. A table and a buffer that is used again make that cheap and free of garbage;
// `atob` would make a string of every event first. No DOM, no clock.

const SEXTET = new Uint8Array(128).fill(255);
[..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"].forEach((letter, value) => {
  SEXTET[letter.charCodeAt(0)] = value;
});

/** More than any cycle: 64 datagrams of 64 KiB. */
const MAX_BYTES = 64 * 65536;

export class SampleDecoder {
  #bytes = new Uint8Array(6144);

  /**
   * Samples in `text`, base64 (RFC 4648 section 4) of s32le. Gives a view that the next call overwrites,
   * or null where the text is no such thing.
   * @returns {Int32Array | null}
   */
  decode(text) {
    if (typeof text !== "string" || text.length % 4 !== 0) return null;
    const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
    const length = (text.length / 4) * 3 - padding;
    if (length % 4 !== 0 || length > MAX_BYTES) return null;
    if (this.#bytes.length < length + 2) this.#bytes = new Uint8Array(length + 4 - (length % 4));
    const bytes = this.#bytes;
    const end = text.length - padding;
    let bad = 0;
    let out = 0;
    for (let i = 0; i < text.length; i += 4) {
      const a = sextet(text, i, end), b = sextet(text, i + 1, end), c = sextet(text, i + 2, end), d = sextet(text, i + 3, end);
      bad |= a | b | c | d;
      bytes[out] = (a << 2) | (b >> 4);
      bytes[out + 1] = (b << 4) | (c >> 2);
      bytes[out + 2] = (c << 6) | d;
      out += 3;
    }
    if (bad & 128) return null;
    // Every machine that runs a browser today is little-endian, as the samples are.
    return new Int32Array(bytes.buffer, 0, length / 4);
  }
}

function sextet(text, i, end) {
  if (i >= end) return 0;
  const code = text.charCodeAt(i);
  return code < 128 ? SEXTET[code] : 255;
}

/**
 * Histograms of a Prometheus text (version 0.0.4), those whose name is in `names`.
 * @returns {Map<string, {le: number[], counts: number[]}>} by name and labels, `name{mic="0"}`; upper bounds ascending (the last
 *   is Infinity), and how many values each bucket alone has
 */
export function histograms(text, names) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = /^(\w+)_bucket\{(.*?),?le="([^"]+)"\} (\S+)$/.exec(line);
    // Of a server whose arrays have names, the first stands there twice.
    if (!match || !names.includes(match[1]) || match[2].startsWith("array=")) continue;
    const key = match[2] ? `${match[1]}{${match[2]}}` : match[1];
    if (!found.has(key)) found.set(key, { le: [], counts: [], before: 0 });
    const histogram = found.get(key);
    histogram.le.push(match[3] === "+Inf" ? Infinity : Number(match[3]));
    histogram.counts.push(Number(match[4]) - histogram.before);
    histogram.before = Number(match[4]);
  }
  return found;
}
