// Calibration by claps: begun by a button, told in words until it is over.

const AGAIN_MS = 500;
/** Answers that may fail one after the other: 10 s of them. */
const MISSES = 20;

/** What to show of an answer of /api/calibrate. */
export function calibrationText(told) {
  if (told.error) return told.error;
  if (told.state === "listening") {
    const claps = told.claps === 1 ? "1 clap" : `${told.claps} claps`;
    return `Clap about once a second, equally far from all microphones: ${claps} heard, ${Math.ceil(told.ends_in_s)} s left`;
  }
  if (told.state !== "done") return "";
  const of = ([name, mic]) => {
    const label = name.replace("mic", "mic ");
    return mic.reason ? `${label}: ${mic.reason}` : `${label}: ${mic.moved_samples.toFixed(1)} \u00b1 ${mic.uncertainty_samples.toFixed(1)} samples`;
  };
  return Object.entries(told.mics).map(of).join(" \u00b7 ");
}

/** Begins, and tells again and again how it goes, until it is over. `ask(method)` gives an answer. */
export async function calibrate(ask, tell) {
  let told = await ask("POST");
  tell(calibrationText(told));
  let misses = 0;
  while (told.state === "listening") {
    await new Promise((done) => setTimeout(done, AGAIN_MS));
    try {
      told = await ask("GET");
      misses = 0;
    } catch (error) {
      // It listens all the same.
      if (++misses === MISSES) throw error;
    }
    tell(calibrationText(told));
  }
}
