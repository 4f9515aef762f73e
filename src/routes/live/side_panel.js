// The panels beside the table.

const LINES = 50; // of the last changes, at most

/** A new line. */
function tell(line) {
  session.changes.unshift(line);
  session.changes.length = Math.min(session.changes.length, LINES);
  panels.changes = true;
}

/** A change as a new line, or as the same line where somebody goes on with the same thing. */
function tellChange(change) {
  const { changes } = session;
  const last = change.item_id ? changes.findIndex((other) => other.item_id === change.item_id) : -1;
  const isSame = last >= 0 && goesOn(changes[last], change);
  tell(isSame ? together(...changes.splice(last, 1), change) : change);
}

/** The last changes as the API tells them, with what has happened since and who came and went. */
function takeRecent({ recent, seq }) {
  const isNews = (line) => !line.action || line.seq > seq;
  const known = session.changes.filter(isNews);
  const isKnown = (change) => known.some((line) => line.item_id && line.item_id === change.item_id && goesOn(change, line));
  const told = recent.filter((change) => !isKnown(change)).map((change) => ({ ...change, title: change.label ?? titleOfRecent(change) }));
  session.changes = [...known, ...told.reverse()].sort((a, b) => Date.parse(b.at) - Date.parse(a.at)).slice(0, LINES);
  panels.changes = true;
}

function titleOfRecent({ item_id: id, item_type }) {
  return id && titleOf(session.items.get(id) ?? { item_type });
}

// The panels beside the table, filled anew at most five times a second.

const panels = { items: false, touched: new Set(), changes: false, members: false, chosen: false, since: false };
const rows = new Map(); // of the list of items, by id
const ROWS = 500; // at most; the rest is found by searching
let flushing = null;

const flushSoon = () => (flushing ??= setTimeout(flush, 180));

function flush() {
  clearTimeout(flushing);
  flushing = null;
  if (!session) return;
  write($("session-facts"), `${counted(scene.size, "item")} · ${counted(session.members.size, "person", "people")}`);
  if (panels.items) fillItems();
  else for (const id of panels.touched) if (rows.has(id) && scene.has(id)) fillRow(rows.get(id), scene.get(id));
  if (panels.items || panels.chosen || panels.members || panels.touched.has(session.chosen)) fillChosen();
  panels.touched.clear();
  if (panels.members) fillMembers();
  if (panels.changes) fillChanges();
  if (session.timeline) fillTimeline();
  fillSince();
  $("timeline").hidden = !session.timeline;
  Object.assign(panels, { items: false, changes: false, members: false, chosen: false });
}

function fillItems() {
  const words = wordsOf($("search").value);
  const found = [...scene.values()].filter((each) => isFound(words, each));
  const shown = new Set(found.slice(0, ROWS).map(({ id }) => id));
  for (const id of rows.keys()) if (!shown.has(id)) rows.delete(id);
  const nodes = found.slice(0, ROWS).map((each) => {
    const row = rows.get(each.id) ?? newRow(each.id);
    fillRow(row, each);
    return row.node;
  });
  arrange($("items"), nodes);
  const more = found.length - shown.size;
  const told = more ? `The first ${ROWS} of ${counted(found.length, "item")} are listed: search for the others.` : `${found.length ? grouped.format(found.length) : "None"} of ${counted(scene.size, "item")} found.`;
  $("items-more").hidden = !more && !words.length;
  write($("items-more"), told);
}

function newRow(id) {
  const [label, kind, cells] = [name(""), make("span"), PLACE.map(() => make("td"))];
  const button = make("button", { onclick: () => choose(id) }, label);
  const row = { label, kind, cells, button, node: make("tr", {}, make("th", { scope: "row" }, button, kind), ...cells) };
  markRow(id, row.node, button);
  rows.set(id, row);
  return row;
}

function fillRow({ label, kind, cells }, { title, data, toX, toY, toAngle }) {
  write(label, title);
  write(kind, kindInWords(data));
  [fixed(toX), fixed(toY), `${fixed(toAngle)}°`].forEach((text, n) => write(cells[n], text));
}

const memberRows = new Map(); // by user: the lines stay, so that the focus does

/** Who is in, and how well they are connected: in words and with a sign. */
function fillMembers() {
  for (const user of memberRows.keys()) if (!session.members.has(user)) memberRows.delete(user);
  const nodes = [...session.members.values()].map((member) => {
    const { user_id: user } = member;
    const { state, round_trip_ms: trip, queue_bytes: queue, stalled_seconds: stalled, read_only } = session.quality.get(user) ?? {};
    const words = [state === "stalled" ? `stalled for ${duration(stalled)}` : state ?? ""];
    if (queue && state !== "good") words.push(`${bytes(queue)} waiting`);
    if (Number.isFinite(trip)) words.push(`${+trip.toPrecision(2)} ms`);
    const sign = make("span", { "aria-hidden": true, textContent: { good: "▂▄▆ ", slow: "▂▄ ", stalled: "▂ " }[state] ?? "" });
    if (!memberRows.has(user)) memberRows.set(user, newMemberRow(user));
    const row = memberRows.get(user);
    markFollow(user, row.follow);
    row.who.replaceChildren(person({ ...member, read_only }));
    row.quality.className = `quality ${state}`;
    row.quality.replaceChildren(sign, words.join(", "));
    return row.node;
  });
  arrange($("members"), nodes.length ? nodes : [soft("li", "Nobody is in: this is how it was left.")]);
}

function newMemberRow(user) {
  const [who, quality, follow] = [make("span"), make("span"), followButton(user)];
  return { who, quality, follow, node: make("li", {}, who, quality, follow) };
}

function fillChanges() {
  const lines = session.changes.map((change) => changeLine(change)).filter(Boolean);
  arrange($("changes"), lines.length ? lines : [soft("li", "Nothing yet.")]);
}

/** A change's line; the same one while it says the same, so that the focus stays. Null where there is nothing to say. */
function changeLine(change) {
  const { user_id: user, item_id: id, text, title, tail = "", at } = change.action ? { ...change, ...(wordsFor(change) ?? { text: "" }) } : change;
  if (!text) return null;
  const isGone = change.action === "remove_item" && session.may && !session.items.has(id) && !isComeBackLater(change);
  const said = JSON.stringify([user, text, title, tail, at, isGone]);
  if (change.said === said) return change.node;
  const words = make("p", {}, ...(user ? [name(user), " "] : []), text, ...(title ? [" ", name(title)] : []), make("bdi", { textContent: tail }));
  const back = isGone ? [make("button", { onclick: () => bringBack(id) }, "Bring it back", make("span", { className: "unseen", textContent: ` ${title}` }))] : [];
  change.said = said;
  return (change.node = make("li", {}, user ? marker(user) : "", words, ...back, make("time", { textContent: clock(at), title: new Date(at).toLocaleString() })));
}

/** Whether an item was removed again since: only its last removal has the button. */
const isComeBackLater = (change) => session.changes.find((other) => other.item_id === change.item_id) !== change;
