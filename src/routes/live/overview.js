// The overview.

const cards = new Map(); // by session id; their order stays, so that nothing jumps away under the mouse
let before = null; // the server's counters as they were, for the rates

async function watchOverview() {
  const mine = ++turn;
  before = null;
  $("how").append($("join"));
  $("session-name").value = "default";
  $("page-url").value = HERE.href;
  for (let asked = ""; mine === turn; ) {
    try {
      const began = performance.now();
      const [server, sessions] = await Promise.all([ask("server"), ask("sessions")]);
      // What is stored is asked for when other sessions are open, and now and then.
      const open = JSON.stringify([sessions.sessions.map((s) => s.session_id).sort(), server.uptime_seconds >> 4]);
      const stored = server.durable && open !== asked ? await ask("stored").catch(() => null) : null;
      if (mine !== turn) return;
      if (server.healthy) line.up();
      else line.show("lost", `Not well: ${server.reason}`);
      showFigures(server, sessions);
      showSessions(sessions);
      if (stored) {
        asked = open;
        showStored(stored.sessions, sessions.sessions);
      }
      // Who takes long is asked less often.
      await rest(Math.max(900, 5 * (performance.now() - began)));
    } catch (error) {
      if (mine !== turn) return;
      before = null;
      if (error.wantsKey) await line.locked(error);
      else await line.down(error.status ? `The server can’t answer (${error.status})` : "The connection is lost");
    }
  }
}

function showFigures(server, { sessions }) {
  write($("version"), server.server.version);
  const now = { ...server, at: performance.now() };
  const rate = (counter) => (before ? `${short.format(Math.round((1000 * (now[counter] - before[counter])) / (now.at - before.at)))}/s` : "–");
  const { members, viewers, clients } = server.connections;
  const rows = [
    ["People in sessions", grouped.format(members), `${counted(viewers, "viewer")}, ${counted(clients, "client")} besides`],
    ["Sessions", grouped.format(server.sessions), `${sessions.filter((s) => s.members.length).length} with somebody in`],
    ["Messages in", rate("messages_in"), `${short.format(server.messages_in)} so far, ${bytes(server.bytes_in)}`],
    ["Messages out", rate("messages_out"), `${short.format(server.messages_out)} so far, ${bytes(server.bytes_out)}`],
    ["Memory", server.memory_bytes === null ? "–" : bytes(server.memory_bytes), `${bytes(server.queue_bytes)} wait to be sent`],
    ["Running for", duration(server.uptime_seconds), `since ${clock(server.started_at)}`],
    ["Kept on disk", ...(server.durable ? ["Yes", "a restart loses nothing"] : ["No", server.not_stored ?? "sessions are in memory only"])],
  ];
  before = now;
  const figures = $("figures");
  if (!figures.firstChild) figures.append(...rows.map(() => make("div", { className: "panel" }, small("dt"), make("dd", { className: "large" }), small("dd"))));
  rows.forEach((row, n) => row.forEach((text, m) => write(figures.children[n].children[m], text)));
}

function showSessions({ sessions, total }) {
  const told = new Map(sessions.map((s) => [s.session_id, s]));
  for (const id of cards.keys()) if (!told.has(id)) cards.delete(id);
  for (const id of told.keys()) if (!cards.has(id)) cards.set(id, newCard(id));
  for (const [id, card] of cards) fillCard(card, told.get(id));
  const deserted = ([id]) => told.get(id).members.length === 0;
  arrange($("sessions"), [...cards].sort((a, b) => deserted(a) - deserted(b)).map(([, card]) => card.node));
  $("nobody").hidden = cards.size > 0;
  $("more").hidden = total <= cards.size;
  write($("more"), `${counted(total - cards.size, "more session")} not shown.`);
}

const sessionLink = (id) => make("a", { href: `#/session/${encodeURIComponent(id)}` }, name(id));

function newCard(id) {
  const [people, path, pace, facts] = [make("div", { className: "people" }), svg("path", {}), small("span"), small("p")];
  const curve = svg("svg", { viewBox: "0 0 290 34", preserveAspectRatio: "none", "aria-hidden": true }, path);
  const node = make("li", { className: "panel card" }, make("h3", {}, sessionLink(id)), people, make("div", { className: "pace" }, curve, pace), facts);
  return { node, people, path, pace, facts, told: "" };
}

function fillCard(card, { members, member_count, changes_per_minute: minutes, items, changed_at, viewers, stored }) {
  const told = JSON.stringify(members.slice(0, 9));
  if (card.told !== told) {
    card.told = told;
    const shown = members.slice(0, 8).map(person);
    if (member_count > 8) shown.push(`and ${member_count - 8} more`);
    card.people.replaceChildren(...(shown.length ? shown : [soft("span", "nobody is in")]));
  }
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

function showStored(stored, open) {
  const here = new Set(open.map((s) => s.session_id));
  const rows = stored.filter((s) => !here.has(s.session_id)).slice(0, 500);
  $("stored").hidden = !rows.length;
  $("stored-rows").replaceChildren(...rows.map((s) => {
    const cells = [ago(s.changed_at), grouped.format(s.changes), grouped.format(s.versions), bytes(s.bytes)];
    return make("tr", {}, make("th", { scope: "row" }, sessionLink(s.session_id)), ...cells.map((textContent) => make("td", { textContent })));
  }));
}
