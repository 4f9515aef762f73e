// Changes in words. Pure.

const position = ({ x_mm, y_mm }) => `(${fixed(millimetres(x_mm))}, ${fixed(millimetres(y_mm))})`;

/** What somebody did, and the words behind the item's name; null where nothing changed. */
function wordsFor(before, after) {
  if (!after) return { text: "removed" };
  if (!before) return { text: "added", tail: ` at ${position(after)}` };
  const same = (field) => before[field] === after[field] || JSON.stringify(before[field]) === JSON.stringify(after[field]);
  const changed = Object.keys(after).filter((field) => !same(field));
  const others = changed.filter((field) => !PLACE.includes(field));
  const news = others.slice(0, 3).map((field) => `${field} ${JSON.stringify(after[field])}`.slice(0, 60));
  if (news.length) return { text: "changed", tail: `: ${news.join(", ")}${others.length > 3 ? " …" : ""}` };
  if (changed.includes("x_mm") || changed.includes("y_mm")) return { text: "moved", tail: ` to ${position(after)}` };
  return changed.length ? { text: "turned", tail: ` to ${fixed(degrees(after.angle_deg))}°` } : null;
}
