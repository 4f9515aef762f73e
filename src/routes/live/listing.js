// The list of sessions: which are shown, and in which order. Pure.

/** Whether a session's name, or that of somebody in it, has this text in it. */
function matches({ session_id, members }, text) {
  const wanted = text.trim().toLowerCase();
  return !wanted || [session_id, ...members.map(({ user_id }) => user_id)].some((name) => name.toLowerCase().includes(wanted));
}

const byName = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;
const ORDERS = {
  people: (a, b) => b.member_count - a.member_count,
  changed: (a, b) => (Date.parse(b.changed_at) || 0) - (Date.parse(a.changed_at) || 0),
  name: (a, b) => byName(a.session_id, b.session_id),
  items: (a, b) => b.items - a.items,
};

/** The sessions in this order; equal ones stay as they are. Sessions with nobody in them come last, except by name. */
function ordered(sessions, by) {
  const compare = ORDERS[by] ?? ORDERS.people;
  const deserted = ({ member_count }) => by !== "name" && member_count === 0;
  return [...sessions].sort((a, b) => deserted(a) - deserted(b) || compare(a, b));
}
