// What is shown, as the part of the address behind the #. Pure.
//
// `#/session/NAME?at=120&view=X,Y,SCALE&item=ID`: the change or the moment (RFC 3339), the middle of the view in millimetres
// and pixels a millimetre, the chosen item. What isn't known, or is no such value, is ignored.

const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // then it is what it says
  }
}

function readPoint(text) {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  return MOMENT.test(text) && !isNaN(Date.parse(text)) ? text : undefined;
}

function readView(text) {
  const numbers = text.split(",").map(Number);
  const [x, y, scale] = numbers;
  const isView = numbers.length === 3 && numbers.every(Number.isFinite) && Math.abs(x) <= 1e9 && Math.abs(y) <= 1e9 && scale >= 1e-8 && scale <= 200;
  return isView && text.split(",").every((part) => part.trim() !== "") ? { x, y, scale } : undefined;
}

/** What an address shows; null where that is no session. */
function readAddress(hash) {
  const [, path] = /^#\/session\/(.+)$/s.exec(hash) ?? [];
  if (path === undefined) return null;
  const [, name, query] = /^(.*?)\?((?:[a-z]+=[^?&]*)(?:&[a-z]+=[^?&]*)*)$/s.exec(path) ?? [, path, ""];
  const values = new Map(query.split("&").filter(Boolean).map((pair) => [pair.slice(0, pair.indexOf("=")), decoded(pair.slice(pair.indexOf("=") + 1).replaceAll("+", "%20"))]));
  const item = values.get("item");
  return { id: decoded(name), at: readPoint(values.get("at") ?? ""), view: readView(values.get("view") ?? ""), item: item && item.length <= 1024 ? item : undefined };
}

/** The address of what is shown. `view` is left out where everything is kept in sight. */
function addressOf({ id, at, view, item }) {
  const parts = [];
  if (at !== undefined && at !== null) parts.push(`at=${encodeURIComponent(at)}`);
  if (view) parts.push(`view=${[view.x, view.y].map((n) => +n.toFixed(1)).join(",")},${+view.scale.toPrecision(4)}`);
  if (item !== undefined) parts.push(`item=${encodeURIComponent(item)}`);
  return `#/session/${encodeURIComponent(id)}${parts.length ? `?${parts.join("&")}` : ""}`;
}
