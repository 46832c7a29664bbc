// The first to run: one array has its page, several have an overview, which leads to the page of each.

import { arrange } from "./format.js";
import { address, array } from "./place.js";
import "./theme.js";

/** What the server tells of its arrays; null where it tells nothing. */
async function arrays() {
  try {
    const response = await fetch(address("/api/arrays"), { cache: "no-store", signal: AbortSignal.timeout(3000) });
    return response.ok ? (await response.json()).arrays : null;
  } catch {
    return null;
  }
}

const all = await arrays();
const shown = all?.find(({ name }) => array === null || name === array);
if (all !== null && all.length !== 1 && array === null) {
  document.getElementById("array").hidden = true;
  document.getElementById("overview").hidden = false;
  document.getElementById("pause").hidden = true;
  await import("./overview.js");
} else {
  // One that cannot be reached, or is not there yet, is waited for as if it had the usual three.
  arrange(shown?.channels ?? 3);
  if (array !== null) document.getElementById("back").hidden = false;
  await import("./app.js");
}
