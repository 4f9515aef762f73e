// Choosing an item: by search, from the list, by click. The panel says what there is to know of it.

/** Marks an item, brings it into sight and tells of it; `undefined` lets go. */
function choose(id, { bring = true } = {}) {
  if (session.chosen !== id) session.lost = undefined;
  session.chosen = id;
  for (const [other, { node, button }] of rows) markRow(other, node, button);
  const chosen = scene.get(id);
  if (bring && chosen && !inSight(chosen, 0)) Object.assign(view, { x: chosen.toX, y: chosen.toY, follows: false });
  if (chosen) say(`${chosen.title} chosen`);
  if (chosen && !session.authors.has(id)) askAuthor(id);
  panels.chosen = true;
  flushSoon();
  renew();
}

function markRow(id, node, button) {
  node.classList.toggle("chosen", id === session.chosen);
  id === session.chosen ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current");
}

/** Who changed an item last, where the page hasn't seen it. */
async function askAuthor(id) {
  const mine = session;
  mine.authors.set(id, {});
  const told = await askSession(mine.id, `/items/${encodeURIComponent(id)}`).catch(() => null);
  if (!told || mine.authors.get(id)?.user) return;
  mine.authors.set(id, { user: told.changed_by, at: told.changed_at });
  panels.chosen = true;
  flushSoon();
}

const pair = (label, ...value) => [make("dt", { textContent: label }), make("dd", {}, ...value)];
let chosenShown = ""; // what the panel shows, as text: it is made anew only after a change

function fillChosen() {
  const { chosen: id, past } = session;
  const data = scene.get(id)?.data ?? session.lost?.data;
  $("chosen").hidden = !data;
  if (!data) return void (chosenShown = "");
  // Who has removed it, be it later than the moment that is shown.
  const isGone = session.known && !session.items.has(id);
  const removal = isGone ? session.changes.find((change) => change.action === "remove_item" && change.item_id === id) ?? {} : null;
  const author = past || isGone ? null : session.authors.get(id);
  const shown = JSON.stringify([id, data, author, removal?.at, isGone, session.may, Boolean(past), Math.floor(Date.now() / 60000)]);
  if (shown === chosenShown) return;
  chosenShown = shown;
  write($("chosen-title"), titleOf(data));
  const kind = kindInWords(data);
  const facts = [...pair("kind", kind), ...pair("place", `${position(data)} mm`), ...pair("angle", `${fixed(degrees(data.angle_deg))}°`)];
  if (typeof data.locked === "boolean") facts.push(...pair("locked", data.locked ? "yes" : "no"));
  if (author?.user) facts.push(...pair("changed last", "by ", name(author.user), author.at ? `, ${clock(author.at)} (${ago(author.at)})` : ""));
  const nodes = [make("dl", {}, ...facts)];
  for (const { title, lines } of listed(data)) {
    if (title) nodes.push(make("h3", { textContent: title }));
    nodes.push(make("dl", {}, ...lines.flatMap(([label, value]) => pair(label, make("bdi", { textContent: value })))));
  }
  $("chosen-facts").replaceChildren(...nodes);
  write($("chosen-id"), id);
  $("chosen-lost").replaceChildren(...(isGone ? [removal.user_id ? name(removal.user_id) : "Somebody", ` removed it${removal.at ? `, ${clock(removal.at)}` : ""}.`] : []));
  $("chosen-lost").hidden = !isGone;
  $("bring-back").hidden = !isGone || !session.may;
}

$("let-go").onclick = () => {
  choose(undefined);
  $("search").focus();
};
$("copy-id").onclick = async () => {
  const text = $("chosen-id");
  getSelection().selectAllChildren(text);
  document.execCommand("copy");
  say("Copied");
  write($("copy-id"), "Copied");
  setTimeout(write, 1500, $("copy-id"), "Copy id");
};

$("bring-back").onclick = () => bringBack(session.chosen);

/** Has the server put a removed item back, for people who may change the session. */
async function bringBack(id) {
  const path = `sessions/${encodeURIComponent(session.id)}/items/${encodeURIComponent(id)}/restore`;
  try {
    await request(path, { method: "POST" });
    say("It is back");
  } catch ({ message }) {
    tell({ text: `It can’t be brought back: ${message || "the server doesn’t answer"}`, at: new Date().toISOString() });
    say("It can’t be brought back");
  }
  panels.chosen = true;
  flushSoon();
}

// Searching the list.

$("search").oninput = () => {
  panels.items = true;
  flush();
};
/** The rows of the list that can be reached by keyboard, in their order. */
const rowButtons = () => [...$("items").querySelectorAll("button")];

$("search").onkeydown = (event) => {
  const [first] = rowButtons();
  if (event.key === "ArrowDown" && first) {
    event.preventDefault();
    first.focus();
  } else if (event.key === "Enter" && first) first.click();
  else if (event.key === "Escape" && event.target.value) {
    event.stopPropagation();
    event.preventDefault();
    event.target.value = "";
    event.target.oninput();
  }
};
$("items").onkeydown = (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const all = step ? rowButtons() : [];
  const from = all.indexOf(event.target);
  if (from < 0) return;
  event.preventDefault();
  (all[from + step] ?? (step < 0 ? $("search") : all[from])).focus();
};
document.addEventListener("keydown", (event) => {
  if (!session || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const isTyping = event.target.closest?.("input:not([type=range]), select, textarea");
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    $("search").focus();
    $("search").select();
  } else if (event.key === "Escape") {
    stopFollowing();
    if (session.chosen !== undefined) choose(undefined);
  }
});
