// What only the API knows, asked for every two seconds.

async function keepAsking(mine) {
  const { id } = session;
  for (let round = 0; mine === turn; round++) {
    try {
      const began = performance.now();
      // Nothing is stored of a session before its first change.
      const changed = session.seq > 0;
      const [told, { connections }, server] = await Promise.all([askSession(id), ask("connections"), ask(`server?session=${encodeURIComponent(id)}`)]);
      const timeline = server.durable && changed && (!session.timeline || round % 5 === 0) ? await askSession(id, "/versions").catch(() => null) : null;
      // A key may be for some sessions only.
      const all = server.may_administer && key ? await ask("server") : server;
      if (mine !== turn) return;
      learn(server);
      learnPermission(all.may_administer, server.may_administer);
      if (session.may !== server.may_administer) panels.changes = panels.chosen = true;
      session.may = server.may_administer;
      session.quality = new Map(told.members.map((m) => [m.user_id, { ...m, ...connections.find((c) => c.connection === m.connection) }]));
      for (const { user_id, is_host } of told.members) if (session.members.has(user_id)) session.members.get(user_id).is_host = is_host;
      showClash($("clash"), told.members);
      if (session.behind) {
        session.behind = false;
        takeRecent(told);
      }
      if (timeline) takeTimeline(timeline);
      panels.members = true;
      flushSoon();
      await rest(9 * (performance.now() - began));
    } catch {} // the socket says what is wrong
    await rest(1900);
  }
}
