// The panels beside the table.

/** A new line, or the same one for who goes on with the same thing. */
function tell(change) {
  const { changes } = session;
  const last = changes.find((other) => other.user === change.user);
  if (last?.id && last.id === change.id && last.text === change.text && Date.parse(change.at) - Date.parse(last.at) < 5000) Object.assign(last, change, { node: null });
  else changes.unshift(change);
  changes.length = Math.min(changes.length, 50);
  panels.changes = true;
}

// The panels beside the table, filled anew at most five times a second.

const panels = { items: false, touched: new Set(), changes: false, members: false };
const rows = new Map(); // of the list of items, by id
const ROWS = 1000; // at most
let flushing = null;

const flushSoon = () => (flushing ??= setTimeout(flush, 180));

function flush() {
  clearTimeout(flushing);
  flushing = null;
  if (!session) return;
  write($("session-facts"), `${counted(scene.size, "item")} · ${counted(session.members.size, "person", "people")}`);
  if (panels.items) fillItems();
  else for (const id of panels.touched) if (rows.has(id) && scene.has(id)) fillRow(rows.get(id), scene.get(id));
  panels.touched.clear();
  if (panels.members) fillMembers();
  if (panels.changes) fillChanges();
  if (session.timeline) fillTimeline();
  $("timeline").hidden = !session.timeline;
  Object.assign(panels, { items: false, changes: false, members: false });
}

function fillItems() {
  for (const id of rows.keys()) if (!scene.has(id)) rows.delete(id);
  const listed = [...scene.values()].slice(0, ROWS).map((each) => {
    const row = rows.get(each.id) ?? newRow(each.id);
    fillRow(row, each);
    return row.node;
  });
  arrange($("items"), listed);
}

function newRow(id) {
  const [label, kind, cells] = [name(""), make("span"), PLACE.map(() => make("td"))];
  const button = make("button", { onclick: () => choose(id) }, label);
  const row = { label, kind, cells, node: make("tr", {}, make("th", { scope: "row" }, button, kind), ...cells) };
  rows.set(id, row);
  return row;
}

function fillRow({ label, kind, cells }, { title, data, toX, toY, toAngle }) {
  write(label, title);
  write(kind, KINDS[kindOf(typeOf(data))] ?? typeOf(data));
  [fixed(toX), fixed(toY), `${fixed(toAngle)}°`].forEach((text, n) => write(cells[n], text));
}

/** Who is in, and how well they are connected: in words and with a sign. */
function fillMembers() {
  const nodes = [...session.members.values()].map((member) => {
    const { state, round_trip_ms: trip, queue_bytes: queue, stalled_seconds: stalled, read_only } = session.quality.get(member.user_id) ?? {};
    const words = [state === "stalled" ? `stalled for ${duration(stalled)}` : state ?? ""];
    if (queue && state !== "good") words.push(`${bytes(queue)} waiting`);
    if (Number.isFinite(trip)) words.push(`${+trip.toPrecision(2)} ms`);
    const sign = make("span", { "aria-hidden": true, textContent: { good: "▂▄▆ ", slow: "▂▄ ", stalled: "▂ " }[state] ?? "" });
    return make("li", {}, person({ ...member, read_only }), make("span", { className: `quality ${state}` }, sign, words.join(", ")));
  });
  $("members").replaceChildren(...(nodes.length ? nodes : [soft("li", "Nobody is in: this is how it was left.")]));
}

function fillChanges() {
  const { changes } = session;
  $("changes").replaceChildren(...changes.map((change) => {
    const { user, text, title, tail = "", at } = change;
    const words = make("p", {}, ...(user ? [name(user), " "] : []), text, ...(title ? [" ", name(title)] : []), tail);
    return (change.node ??= make("li", {}, user ? marker(user) : "", words, make("time", { textContent: new Date(at).toLocaleTimeString() })));
  }));
  if (!changes.length) $("changes").append(soft("li", "Nothing yet."));
}

/** Asks the API for connections, earlier changes and the timeline. */
