// Light or dark: as the system has it, or as it was chosen here, which the browser remembers.

const THEMES = ["system", "light", "dark"];
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
let theme = localStorage.getItem("collabd.theme");

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
  localStorage.setItem("collabd.theme", theme);
  applyTheme();
};
applyTheme();
