// The overview.

let before = null; // the server's counters as they were, for the rates

async function watchOverview() {
  const mine = ++turn;
  before = null;
  $("how").append($("join"));
  joining = "default";
  showJoining();
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
      drawThumbnails(mine);
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
  learn(server);
  learnPermission(server.may_administer, false);
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

function showStored(stored, open) {
  const here = new Set(open.map((s) => s.session_id));
  const rows = stored.filter((s) => !here.has(s.session_id)).slice(0, 500);
  $("stored").hidden = !rows.length;
  $("stored-rows").replaceChildren(...rows.map((s) => {
    const cells = [ago(s.changed_at), grouped.format(s.changes), grouped.format(s.versions), bytes(s.bytes)];
    return make("tr", {}, make("th", { scope: "row" }, sessionLink(s.session_id)), ...cells.map((textContent) => make("td", { textContent })));
  }));
}
