// What differs between two moments of a table. Pure.

const DIFFERS = { removed: "remove_item", added: "add_item", moved: "move_item", changed: "update_item" };

/** What has to be done to get from one document (items by id) to another: removed, added, moved and changed items, in this order. */
function differences(before, after) {
  const found = { removed: [], added: [], moved: [], changed: [] };
  const note = (how, id, data, from, changes = []) => {
    const { x_mm, y_mm, angle_deg } = data;
    found[how].push({ how, id, action: DIFFERS[how], title: titleOf(data), x_mm, y_mm, angle_deg, data, from, changes });
  };
  for (const [id, data] of before) if (!after.has(id)) note("removed", id, data, data);
  for (const [id, data] of after) {
    const old = before.get(id);
    if (old === data) continue;
    if (!old) {
      note("added", id, data, null);
      continue;
    }
    const changes = changesBetween(old, data);
    if (!changes.length) continue;
    note(changes.some(({ field }) => PLACE.includes(field)) ? "moved" : "changed", id, data, old, changes);
  }
  return Object.values(found).flat();
}

/** How many of each: `2 items removed, 1 moved`. */
function differencesInWords(all) {
  const words = Object.keys(DIFFERS).flatMap((how) => {
    const n = all.filter((one) => one.how === how).length;
    return n ? `${grouped.format(n)} ${how}` : [];
  });
  return words.length ? words.join(", ") : "nothing differs";
}

const REASONS = {
  replaced: "the table was replaced", snapshot: "an editor’s canvas was taken over", "new design": "a new design was begun",
  restored: "an earlier version was restored", imported: "a file was imported", regular: "kept now and then",
};
const reasonInWords = (why) => (Object.hasOwn(REASONS, why) ? REASONS[why] : `${why}`.slice(0, 60));
/**
 * A version for a list to choose from: when, why, and by whom where somebody is known. A stored version is how something
 * left the table; one in memory (which says how many items it has) how the table was until then.
 */
const versionInWords = ({ at, user_id, why, items }) => `${clock(at)} · ${items === undefined ? "" : "until "}${reasonInWords(why)}${user_id ? ` · ${user_id}` : ""}`;

/** Points of time that fit on an axis: of [place from 0 to 1, milliseconds] those that are far enough apart. */
function spaced(points, gap) {
  const kept = [];
  for (const point of [...points].sort((a, b) => a[0] - b[0])) if (!kept.length || point[0] - kept.at(-1)[0] >= gap) kept.push(point);
  return kept;
}

/** What a field for date and time holds for this moment: local time, to the second. */
function localTime(milliseconds) {
  const at = new Date(milliseconds);
  return isNaN(at) ? "" : new Date(milliseconds - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

/** A moment on an axis of `span` milliseconds: with its date where the axis is longer than half a day, or where it is asked for. */
function tickText(milliseconds, span, hasDate) {
  const at = new Date(milliseconds);
  const time = at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", ...(span < 300000 && { second: "2-digit" }) });
  return span < 43200000 && !hasDate ? time : `${at.toLocaleDateString(undefined, { day: "numeric", month: "short" })} ${time}`;
}
