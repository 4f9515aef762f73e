// The cards of the overview, one for each session.

const cards = new Map(); // by session id, in the order in which they are shown
let lastTold = { sessions: [], total: 0 }; // as the server told it last

const hasMouse = matchMedia("(hover: hover)");

function showSessions(told) {
  lastTold = told;
  const known = new Map(told.sessions.map((each) => [each.session_id, each]));
  for (const [id, { node }] of cards) {
    if (known.has(id)) continue;
    cards.delete(id);
    inView.unobserve(node);
  }
  for (const [id, each] of known) {
    if (!cards.has(id)) cards.set(id, newCard(id));
    fillCard(cards.get(id), each);
  }
  // Nothing moves away under the mouse.
  if (!hasMouse.matches || !$("sessions").matches(":hover")) sortCards();
  arrangeCards();
}

function sortCards() {
  const sorted = ordered([...cards.values()].map((card) => card.session), $("sort").value);
  const known = new Map(cards);
  cards.clear();
  for (const { session_id } of sorted) cards.set(session_id, known.get(session_id));
}

function arrangeCards() {
  const shown = [...cards.values()].filter((card) => matches(card.session, $("filter").value));
  arrange($("sessions"), shown.map((card) => card.node));
  $("nobody").hidden = cards.size > 0;
  $("none").hidden = !cards.size || shown.length > 0;
  $("more").hidden = lastTold.total <= cards.size;
  write($("more"), `${counted(lastTold.total - cards.size, "more session")} not shown.`);
  return shown.length;
}

const sessionLink = (id) => make("a", { href: `#/session/${encodeURIComponent(id)}` }, name(id));

function newCard(id) {
  const [people, path, pace, facts, clash] = [make("div", { className: "people" }), svg("path", {}), small("span"), small("p"), make("p", { className: "clash", hidden: true })];
  const picture = svg("svg", { class: "thumbnail", viewBox: `0 0 ${THUMBNAIL.join(" ")}`, "aria-hidden": true });
  const curve = svg("svg", { viewBox: "0 0 290 34", preserveAspectRatio: "none", "aria-hidden": true }, path);
  const join = make("button", { onclick: () => tellHowToJoin(id) }, "Join");
  join.setAttribute("aria-label", `Join ${id}`);
  const about = make("div", { className: "about" }, make("h3", {}, sessionLink(id)), people, clash);
  const node = make("li", { className: "panel card" }, about, picture, make("div", { className: "pace" }, curve, pace), make("div", { className: "foot" }, facts, join));
  const card = { node, people, path, pace, facts, clash, picture, told: "", session: null, isSeen: false, drawn: "", tag: null, drawAfter: 0 };
  cardsByNode.set(node, card);
  inView.observe(node);
  return card;
}

function fillCard(card, session) {
  const { members, member_count, changes_per_minute: minutes, items, changed_at, viewers, stored } = session;
  card.session = session;
  const told = JSON.stringify(members.slice(0, 9).map(({ user_id, is_host, read_only }) => [user_id, is_host, read_only]));
  if (card.told !== told) {
    card.told = told;
    const shown = members.slice(0, 8).map(person);
    if (member_count > 8) shown.push(`and ${member_count - 8} more`);
    card.people.replaceChildren(...(shown.length ? shown : [soft("span", "nobody is in")]));
  }
  showClash(card.clash, members);
  // The minute that has just begun says little.
  const pace = Math.max(...minutes.slice(-2));
  const most = Math.max(1, ...minutes);
  card.path.setAttribute("d", `M-3 37${[...minutes.slice(0, -1), pace].map((n, minute) => `L${minute * 10} ${(32.5 - (n / most) * 30).toFixed(1)}`).join("")}L293 37`);
  write(card.pace, `${short.format(pace)}/min`);
  const facts = [counted(items, "item"), changed_at ? `changed ${ago(changed_at)}` : "not changed yet"];
  if (viewers) facts.push(counted(viewers, "viewer"));
  if (stored) facts.push("on disk");
  write(card.facts, facts.join(" · "));
}

$("filter").oninput = () => say(counted(arrangeCards(), "session"));
$("sort").onchange = () => {
  sortCards();
  arrangeCards();
};
