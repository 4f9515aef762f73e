// Changes in words, the same for those that are seen and for those that the API tells of. Pure.
//
// A change is an entry of `recent` in the API: user_id, item_id, action, at, place and `changes`, a list of
// { field, before, after }.

const ONE_CHANGE = 2000; // milliseconds: what somebody goes on doing to one item within this time is one change
const GOES_ON = ["update_item", "move_item"];
const WHOLE = { replace: "replaced the table", restore: "restored an earlier version", import: "imported a file" };

const position = ({ x_mm, y_mm }) => `(${fixed(millimetres(x_mm))}, ${fixed(millimetres(y_mm))})`;
const same = (a, b) => a === b || (typeof a === "object" && JSON.stringify(a) === JSON.stringify(b));
const isFields = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Which fields differ between two objects. */
function fieldsBetween(before, after, prefix = "") {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  // A client may call a field `constructor`, which every object inherits.
  const own = (data, field) => (Object.hasOwn(data, field) ? data[field] : undefined);
  return [...names].flatMap((field) => {
    const [old, now] = [own(before, field), own(after, field)];
    if (same(old, now)) return [];
    return { field: prefix + field, ...(old !== undefined && { before: old }), ...(now !== undefined && { after: now }) };
  });
}

/** Which fields of an item differ, those of its interfaces one by one. */
function changesBetween(before, after) {
  const left = ["uuid", "item_uuid", "item_type", "_type"];
  const changes = fieldsBetween(before, after).filter(({ field }) => !left.includes(field));
  return changes.flatMap((change) => {
    const { before: old, after: now } = change;
    if (change.field === "image_path") return { field: "image_path", not_kept: true };
    if (change.field !== "interfaces" || !Array.isArray(old) || !Array.isArray(now)) return change;
    if (old.length !== now.length) return { field: "interfaces.length", before: old.length, after: now.length };
    return now.flatMap((each, n) => {
      if (isFields(each) && isFields(old[n])) return fieldsBetween(old[n], each, `interfaces[${n}].`);
      return same(each, old[n]) ? [] : { field: `interfaces[${n}]`, before: old[n], after: each };
    });
  });
}

/** One change and what the same person goes on doing to the item: the first old values, the last new ones. */
function together(first, then) {
  const changes = new Map((first.changes ?? []).map((change) => [change.field, change]));
  for (const change of then.changes ?? []) {
    const known = changes.get(change.field);
    const { before, ...rest } = change;
    const merged = known ? { ...rest, ...("before" in known && { before: known.before }) } : change;
    const isBack = "before" in merged && "after" in merged && same(merged.before, merged.after);
    if (isBack && !merged.not_kept) changes.delete(change.field);
    else changes.set(change.field, merged);
  }
  return { ...first, ...then, action: first.action === "move_item" ? "move_item" : then.action, more_changes: first.more_changes || then.more_changes, changes: [...changes.values()] };
}

/** Whether a change goes on with the one before it about the same item. */
function goesOn(before, then) {
  const isSoon = Date.parse(then.at) - Date.parse(before.at) <= ONE_CHANGE;
  return isSoon && before.user_id === then.user_id && GOES_ON.includes(before.action) && GOES_ON.includes(then.action);
}

/** One field's change: `focal length 50 → 75 mm`. */
function fieldInWords({ field, before, after, not_kept: isLong, ...change }) {
  change = { before, after };
  const label = labelOf(field);
  const [old, now] = [before, after].map((value) => plainValue(value));
  if (isLong || Math.max(old.length, now.length) > LONGEST_VALUE + 2) return `${label} changed`;
  if (field === "locked" && typeof after === "boolean") return after ? "locked" : "unlocked";
  const isNumber = [before, after].some((value) => typeof value === "number" || Array.isArray(value));
  const unit = isNumber ? unitOf(field) : "";
  if (change.before === undefined) return `${label} ${withUnit(now, unit)}`;
  if (change.after === undefined) return `${label} removed`;
  return `${label} ${old} → ${withUnit(now, unit)}`;
}

/** Several in words, the first three of them. */
function fieldsInWords(changes, hasMore = false) {
  const sorted = [...changes].sort((a, b) => byRank(a.field, b.field));
  const words = sorted.slice(0, 3).map(fieldInWords);
  if (hasMore || sorted.length > 3) words.push("…");
  return words.join(", ");
}

const countsInWords = (counts) => ["added", "changed", "removed"].filter((did) => counts[did]).map((did) => `${counted(counts[did], "item")} ${did}`).join(", ");

/** What somebody did (`text`), and the words behind the item's name (`tail`); null where nothing differs. */
function wordsFor(change) {
  const { action, changes = [], more_changes: hasMore } = change;
  if (Object.hasOwn(WHOLE, action)) return { text: WHOLE[action], tail: "added" in change ? `: ${countsInWords(change) || "nothing differs"}` : "" };
  if (action === "add_item") return { text: "added", tail: ` at ${position(change)}` };
  if (action === "remove_item") return { text: "removed", tail: "" };
  if (!GOES_ON.includes(action)) return null;
  const others = changes.filter(({ field }) => !PLACE.includes(field));
  const isMoved = changes.some(({ field }) => field === "x_mm" || field === "y_mm");
  if (others.length) return { text: "changed", tail: `: ${fieldsInWords(others, hasMore)}${isMoved ? `, moved to ${position(change)}` : ""}` };
  if (hasMore) return { text: "changed", tail: "" };
  if (isMoved) return { text: "moved", tail: ` to ${position(change)}` };
  return changes.length ? { text: "turned", tail: ` to ${fixed(degrees(change.angle_deg))}°` } : null;
}
