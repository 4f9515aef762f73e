// Light or dark: as the system has it, or as it was chosen here, which the browser remembers.

/** What the browser remembers of this page; `storage` is `localStorage` or `sessionStorage`. Where nothing may be stored, nothing is remembered. */
function recall(storage, name) {
  try {
    return window[storage].getItem(name);
  } catch {
    return null;
  }
}

/** Has it remembered; `null` forgets it. */
function remember(storage, name, value) {
  try {
    value === null ? window[storage].removeItem(name) : window[storage].setItem(name, value);
  } catch {}
}

const THEMES = ["system", "light", "dark"];
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
let theme = recall("localStorage", "collabd.theme");

/** The colours stand once for each theme, in base.css. `themechange` tells that others are in force. */
function applyTheme() {
  if (!THEMES.includes(theme)) theme = "system";
  const isDark = theme === "dark" || (theme === "system" && systemIsDark.matches);
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  document.getElementById("theme-name").textContent = theme;
  dispatchEvent(new Event("themechange"));
}

systemIsDark.onchange = applyTheme;
document.getElementById("theme").onclick = () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  remember("localStorage", "collabd.theme", theme);
  applyTheme();
};
applyTheme();
