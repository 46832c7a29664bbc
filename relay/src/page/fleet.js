// All arrays of the fleet, asked for every two seconds. What is wrong stands first.

const POLL_MS = 2000;
const token = new URLSearchParams(location.search).get("token");
const address = (path) => (token === null ? path : `${path}?token=${encodeURIComponent(token)}`);
const $ = (id) => document.getElementById(id);

/** A row of cells; a cell is a text, or a node. */
function row(cells, kind) {
  const tr = document.createElement("tr");
  tr.className = kind;
  for (const cell of cells) {
    const td = document.createElement("td");
    td.append(cell ?? "");
    tr.append(td);
  }
  return tr;
}

function link(text, href) {
  const a = document.createElement("a");
  a.href = address(href);
  a.textContent = text;
  return a;
}

const us = (n) => (n === null || n === undefined ? "unknown" : n < 1000 ? `${n} us` : `${(n / 1000).toFixed(1)} ms`);

function show({ arrays, hosts }) {
  const wrong = arrays.filter((array) => array.status !== "ok");
  $("summary").textContent = arrays.length === 0 ? "No relay has published yet."
    : wrong.length === 0 ? `${arrays.length} arrays, all well.` : `${wrong.length} of ${arrays.length} arrays need a look.`;
  const sorted = [...wrong, ...arrays.filter((array) => array.status === "ok")];
  $("arrays").replaceChildren(...sorted.map((array) => {
    const tr = row([array.host, array.array, array.status, array.reason, `${array.channels ?? "unknown"}`,
      array.sample_rate ? `${array.sample_rate} Hz` : "unknown", array.audio_stored ? "stored" : "live only",
      `${array.age_s.toFixed(0)} s ago`, link("WAV", `/api/arrays/${array.name}/stream.wav`)], array.status);
    tr.children[2].className = "state";
    return tr;
  }));
  const skew = hosts.skew_across_hosts;
  $("skew").textContent = skew.reason ? `Stamps of different hosts: ${skew.reason}.`
    : `Stamps of different hosts are comparable to ${us(skew.estimated_us)} (estimated), ${us(skew.max_us)} (at most).`;
  $("clocks").replaceChildren(...Object.entries(hosts.clocks).map(([host, clock]) => row([host,
    clock?.synchronised ? "yes" : "no", us(clock?.estimated_error_us), us(clock?.max_error_us), clock?.reason], "")));
}

async function poll() {
  try {
    const answer = await fetch(address("/api/fleet"), { cache: "no-store", signal: AbortSignal.timeout(3000) });
    if (!answer.ok) throw new Error((await answer.json()).error);
    show(await answer.json());
  } catch (error) {
    $("summary").textContent = `No answer: ${error.message}`;
  }
  setTimeout(poll, POLL_MS);
}

poll();
