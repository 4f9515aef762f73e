// Numbers, times and quantities as text. Pure: the tests run it in Node.

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const isText = (value) => typeof value === "string" && value.trim() !== "";

// Clients may send any number.
const millimetres = (value) => (Number.isFinite(value) ? Math.max(-1e9, Math.min(1e9, value)) : 0);
const degrees = (value) => (Number.isFinite(value) ? value % 360 : 0);

const grouped = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const counted = (n, one, many = `${one}s`) => `${grouped.format(n)} ${n === 1 ? one : many}`;
const fixed = (value) => (Math.abs(value) < 1e6 ? value.toFixed(1).replace(/^-0\.0$/, "0.0") : value.toExponential(2));

function bytes(n) {
  const unit = Math.min(4, Math.max(0, Math.floor(Math.log10(n || 1) / 3)));
  return `${+(n / 1000 ** unit).toPrecision(3)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

function duration(seconds) {
  const [length, unit] = [[86400, "days"], [3600, "h"], [60, "min"], [1, "s"]].find(([length]) => seconds >= 2 * length || length === 1);
  return `${Math.floor(seconds / length)} ${unit}`;
}

let clockBehind = 0; // how many milliseconds this machine's clock is behind the server's

function ago(time) {
  const seconds = (Date.now() + clockBehind - Date.parse(time)) / 1000;
  return seconds < 3 ? "just now" : `${duration(seconds)} ago`;
}

function clock(time) {
  const at = new Date(time);
  const day = at.toDateString() === new Date().toDateString() ? "" : `${at.toLocaleDateString()} `;
  return isNaN(at) ? "" : day + at.toLocaleTimeString();
}

/** A name for a file, for every operating system: of a session's name what such names may have. */
function fileNameFor(name, ending) {
  const safe = name.normalize("NFC").replace(/[^\p{L}\p{M}\p{N}._-]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "");
  // Windows has devices by these names.
  const free = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(safe) ? `table-${safe}` : safe;
  return `${[...free].slice(0, 60).join("") || "table"}.${ending}`;
}
