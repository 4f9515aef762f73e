// One session's socket, and what it says.

function watchSession(id, wish) {
  const mine = ++turn;
  session = { id, wish, items: new Map(), members: new Map(), quality: new Map(), authors: new Map(), times: new Map(), states: [], changes: [], epoch: null, seq: 0, known: false, isAsking: false, behind: false, timeline: null, past: null };
  for (const kept of [scene, lively, cursors, rows, memberRows, looks]) kept.clear();
  for (const list of ["items", "members", "changes", "versions"]) $(list).replaceChildren();
  Object.assign(panels, { items: true, changes: true });
  view.follows = true;
  $("search").value = "";
  stopFollowing();
  $("how-here").append($("join"));
  write($("session-title"), id);
  showJoining();
  flush();
  keepWatching(mine);
}

async function keepWatching(mine) {
  for (line.show("wait", "Connecting…"); mine === turn; ) {
    let refusal = await fetchFirstState(mine);
    if (mine !== turn) return;
    const { code, reason, told } = refusal ? {} : await talk(mine);
    // Only the API says why a WebSocket was refused.
    if (!told && !refusal && mine === turn) await askSession(session.id).catch((error) => (refusal = error));
    if (mine !== turn) return;
    $("table").classList.add("gone");
    if (refusal?.wantsKey) await line.locked(refusal);
    else if (refusal?.status === 404) await line.down("This session isn’t open", { longest: 4, isGone: false });
    else if (code === 1000) await line.down("The session has ended", { isGone: false });
    else await line.down(`The connection is lost${reason ? ` (${reason})` : ""}`);
  }
}

/** One connection, until it ends; resolves with how. */
function talk(mine) {
  return new Promise((done) => {
    const since = session.epoch ? `?epoch=${encodeURIComponent(session.epoch)}&since=${session.seq}` : "";
    const socket = new WebSocket(`${SOCKETS}${key ? `key/${encodeURIComponent(key)}/` : ""}view/${encodeURIComponent(session.id)}${since}`);
    let [told, heard] = [false, performance.now()];
    const finish = ({ code, reason }) => {
      clearInterval(pulse);
      socket.onclose = socket.onmessage = null;
      socket.close();
      done({ code, reason, told });
    };
    // A cable that was pulled says nothing.
    const pulse = setInterval(() => {
      if (performance.now() - heard > 20000) finish({ code: 4000, reason: "no answer" });
      else if (socket.readyState === 1) socket.send('{"type":"ping"}');
    }, 5000);
    session.leave = () => finish({});
    socket.onclose = finish;
    socket.onmessage = ({ data }) => {
      if (mine !== turn) return;
      [told, heard] = [true, performance.now()];
      hear(JSON.parse(data));
    };
  });
}

function hear(message) {
  const { type, user_id: user, timestamp: at } = message;
  const { members } = session;
  // What the acknowledgement names is still to come.
  if (type !== "connection:ack" && message.seq > session.seq) session.seq = message.seq;
  if (type === "connection:ack") {
    members.clear();
    cursors.clear();
    for (const member of message.users) members.set(member.user_id, member);
    panels.members = true;
  } else if (type === "sync:state") {
    Object.assign(session, { epoch: message.epoch, seq: message.seq });
    takeState(message.state);
    goLive();
  } else if (type === "sync:done") goLive();
  else if (type === "session:activity") tellChange(message);
  else if (type === "command") takeCommand(message.command, message);
  else if (type === "cursor") takeCursor(message);
  else if (type === "user:joined") {
    members.set(user, { user_id: user, is_host: !members.size });
    comeOrGo(user, "joined", at);
  } else if (type === "user:left") {
    members.delete(user);
    cursors.delete(user);
    if (session.following === user) stopFollowing();
    comeOrGo(user, "left", at);
  } else if (type === "host:changed") {
    for (const member of members.values()) member.is_host = member.user_id === user;
    if (user) comeOrGo(user, "is the host now", at);
  }
  flushSoon();
}

function comeOrGo(user, text, at) {
  panels.members = true;
  tell({ user_id: user, text, at });
  say(`${user} ${text}`);
  redraw();
}

/** All that was missed has come. */
function goLive() {
  $("table").classList.remove("gone");
  line.up();
  session.behind = true;
  // Before, it may be stored and not open.
  if (!session.isAsking) keepAsking(turn);
  session.isAsking = true;
}

function takeState(state) {
  const items = state?.items ?? [];
  session.items = new Map(items.filter(idOf).map((item) => [idOf(item), item]));
  session.known = session.behind = true;
  session.authors.clear();
  panels.since = true;
  if (!session.past) setScene(session.items);
  grantWish();
}

function takeCommand({ action, item_type: type, item_id: id, data }, { user_id: user, settled, timestamp: at, seq }) {
  const { items, past } = session;
  if (typeof id !== "string") return;
  const before = items.get(id);
  let after;
  if (action === "add_item") after = { ...before, ...data, item_type: data.item_type ?? type };
  else if (!before) return;
  else if (action === "update_item") after = { ...before, ...data };
  else if (action === "move_item") {
    // The rest of what an editor sends with it may be blank.
    after = { ...before };
    for (const field of PLACE) if (field in data) after[field] = data[field];
  } else if (action !== "remove_item") return;
  if (after) items.set(id, after);
  else items.delete(id);
  if (!past) after ? touch(id, after, settled ? null : user) : lose(id);
  if (past) panels.since = true;
  if (settled) return;
  session.authors.set(id, { user, at });
  if (!after && id === session.chosen) session.lost = { data: before };
  if (after && id === session.chosen) session.lost = undefined;
  followChange(user, id);
  const { x_mm, y_mm, angle_deg } = after ?? before;
  const did = after && before && action === "add_item" ? "update_item" : action;
  const changes = after && before ? changesBetween(before, after) : [];
  tellChange({ seq, user_id: user, item_id: id, action: did, at, title: titleOf(after ?? before), x_mm, y_mm, angle_deg, changes });
}

/** Where somebody points. Scripts say it in one of these ways; the editor never does. */
function takeCursor(message) {
  for (const where of [message, message.position, message.data]) {
    const [x, y] = [where?.x_mm ?? where?.x, where?.y_mm ?? where?.y];
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    const to = { toX: millimetres(x), toY: millimetres(y), toAngle: 0 };
    followTo(message.user_id, { ...to, wide: 0 });
    cursors.set(message.user_id, { x: to.toX, y: to.toY, angle: 0, ...cursors.get(message.user_id), ...to });
    return redraw();
  }
}
