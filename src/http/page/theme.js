// Light or dark: as the system has it, or as the button says, which is remembered.

const THEMES = ["system", "light", "dark"];
const button = document.getElementById("theme");
const heard = [];

/** `work` is done at every change of the colours. */
export function onTheme(work) {
  heard.push(work);
}

function apply(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = `Theme: ${theme}`;
  heard.forEach((work) => work());
}

/** Browsers may forbid storage; then the choice lasts as long as the page. */
function remembered(theme) {
  try {
    if (theme !== undefined) localStorage.setItem("theme", theme);
    return localStorage.getItem("theme") ?? "system";
  } catch {
    return theme ?? "system";
  }
}

let theme = remembered();
if (!THEMES.includes(theme)) theme = "system";
button.addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  remembered(theme);
  apply(theme);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
apply(theme);
