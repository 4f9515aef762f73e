// Looking back, where sessions are durable.

function takeTimeline(timeline) {
  session.timeline = timeline;
  const { versions } = timeline;
  if ($("versions").children.length === Math.min(200, versions.length) + 1) return;
  const options = versions.slice(-200).reverse().map(({ seq, at, user_id }) => make("option", { value: seq, textContent: `${clock(at)}${user_id ? ` ${user_id}` : ""}` }));
  $("versions").replaceChildren(make("option", { value: "", textContent: counted(versions.length, "version") }), ...options);
}

function fillTimeline() {
  const { timeline, past, seq } = session;
  const [slider, told] = [$("moment"), past?.told ?? "Now. Drag to look back in time."];
  Object.assign(slider, { min: timeline.first_seq, max: Math.max(seq, timeline.seq), disabled: timeline.first_seq >= seq });
  if (!past) slider.value = slider.max;
  slider.setAttribute("aria-valuetext", told);
  $("now").disabled = !past;
  $("table").classList.toggle("past", past !== null);
  write($("when"), told);
}

/** Shows the table as it was after this change; of changes chosen while it asks, the last. */
async function lookBack(seq) {
  session.past ??= {};
  const { id, past } = session;
  past.wanted = seq;
  if (past.asking) return;
  past.asking = true;
  while (past.shown !== past.wanted) {
    const at = past.wanted;
    try {
      const [state, { changes }] = await Promise.all([askSession(id, `/state?at=${at}`), askSession(id, `/changes?after=${Math.max(0, at - 1)}&limit=1`)]);
      if (past !== session?.past) return;
      setScene(new Map(state.items.map((item) => [idOf(item), item])));
      const change = changes.find(({ seq }) => seq === at);
      past.told = `As it was after change ${grouped.format(at)}${change ? `, ${clock(change.at)}, by ${change.user_id}` : ""}`;
    } catch (error) {
      past.told = `Change ${grouped.format(at)} can’t be shown: ${error.message}`;
    }
    past.shown = at;
    flushSoon();
  }
  past.asking = false;
}

function backToNow() {
  session.past = null;
  $("versions").value = "";
  setScene(session.items);
  flush();
}

$("now").onclick = backToNow;
$("moment").oninput = $("versions").onchange = ({ target: { value, max } }) => {
  if (!value || value === max) return backToNow();
  $("moment").value = value;
  lookBack(Number(value));
};
