// Where things are on this server: the array that is shown, and its addresses.

const query = new URLSearchParams(location.search);
const token = query.get("token");

/** The array that the page was asked for; null: the only one, or all. */
export const array = query.get("array");

/** An address of this server, with the token where there is one. */
export function address(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries({ ...parameters, ...(token === null ? {} : { token }) }).filter(([, value]) => value !== ""));
  return query.size === 0 ? path : `${path}?${query}`;
}

/** Paths of the array that is shown. */
export const paths = array === null ? oldRoutes() : routes(`/api/arrays/${encodeURIComponent(array)}/`);

function oldRoutes() {
  const own = { stream: "/api/stream_3ch", diagnostics: "/api/diagnostics_sync", metrics: "/metrics", wav: "/api/download_buffer", csv: "/api/download_buffer_text", calibrate: "/api/calibrate" };
  return { ...own, all: [own.stream, "/api/stream_3ch.wav", "/api/stream", own.diagnostics, "/api/diagnostics", "/api/latest", "/metrics", "/healthz"] };
}

function routes(base) {
  const path = (name) => base + name;
  const all = ["stream", "stream.bin", "stream.wav", "packets", "diagnostics", "summary", "latest", "metrics", "health"].map(path);
  return { stream: path("stream"), diagnostics: path("diagnostics"), metrics: path("metrics"), wav: path("download"), csv: path("download.csv"), calibrate: path("calibrate"), all };
}
