// Looking back, where sessions are durable. The axis has a place for each change; ticks say when they were.

const TICKS = 5; // about as many moments are asked for
const LABEL_GAP = 176; // pixels between two moments that have labels
const SINCE = 100; // differences that are listed at most

function takeTimeline(timeline) {
  session.timeline = timeline;
  const { versions, session: stored } = timeline;
  for (const { seq, at } of versions) session.times.set(seq, Date.parse(at));
  if (stored?.changed_at) session.times.set(timeline.seq, Date.parse(stored.changed_at));
  askTimes();
  if ($("versions").children.length === Math.min(200, versions.length) + 1) return;
  const options = versions.slice(-200).reverse().map((version) => make("option", { value: version.seq, textContent: versionInWords(version) }));
  $("versions").replaceChildren(make("option", { value: "", textContent: counted(versions.length, "version") }), ...options);
}

/** Asks when some changes were, spread over the axis, once and when it has grown by a third. */
async function askTimes() {
  const mine = session;
  const { first_seq: first, seq: last } = mine.timeline;
  if (last - first < (mine.asked ?? 0) * 1.33) return;
  mine.asked = last - first;
  for (let n = 0; n < TICKS; n++) {
    const seq = Math.max(1, first + Math.round(((last - first) * n) / TICKS));
    const told = await askSession(mine.id, `/changes?after=${seq - 1}&limit=1`).catch(() => null);
    if (mine !== session) return;
    const [change] = told?.changes ?? [];
    if (change) mine.times.set(change.seq, Date.parse(change.at));
  }
  mine.ticks = "";
  flushSoon();
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
  if (document.activeElement !== $("go-to")) $("go-to").value = past?.at ? localTime(past.at) : "";
  fillTicks(timeline, Number(slider.min), Number(slider.max));
}

/** The moments below the slider, and a mark for each version (the newest 200). */
function fillTicks({ versions }, first, last) {
  const wide = $("ticks").clientWidth || 600;
  const ticks = JSON.stringify([first, last, versions.length, session.times.size, wide]);
  if (session.ticks === ticks) return;
  session.ticks = ticks;
  const place = (seq) => (seq - first) / Math.max(1, last - first);
  const times = [...session.times].filter(([seq, at]) => seq >= first && seq <= last && !isNaN(at));
  const span = Math.max(...times.map(([, at]) => at)) - Math.min(...times.map(([, at]) => at));
  const at = (share) => `${(share * 100).toFixed(2)}%`;
  // The first one says the day, too. At the ends a label is all on one side of its place.
  const labels = spaced(times.map(([seq, time]) => [place(seq), time]), LABEL_GAP / wide).map(([share, time], n) => {
    const anchor = share < 0.1 ? "start" : share > 0.9 ? "end" : "middle";
    return svg("g", {}, svg("line", { x1: at(share), x2: at(share), y1: 0, y2: 5 }), svg("text", { x: at(share), y: 22, "text-anchor": anchor }, tickText(time, span, n === 0)));
  });
  const marks = versions.slice(-200).filter(({ seq }) => seq >= first).map(({ seq, at: when, why }) => {
    const title = svg("title", {}, `${clock(when)}: ${reasonInWords(why)}`);
    return svg("svg", { x: at(place(seq)), y: 0, class: "version" }, svg("path", { d: "M0 0l5 8h-10z" }, title));
  });
  $("ticks").replaceChildren(...labels, ...marks);
}

/** The document as it was at a change or a moment, or the same again: the last three are kept. */
async function stateAt(id, at) {
  const { states } = session;
  const known = states.find((state) => state.seq === at);
  if (known) return known;
  const { items, seq } = await askSession(id, `/state?at=${encodeURIComponent(at)}`);
  const state = { seq, items: new Map(items.filter(idOf).map((item) => [idOf(item), item])) };
  states.unshift(state);
  states.length = Math.min(states.length, 3);
  return state;
}

/** Shows the table as it was after this change or at this moment; of those chosen while it asks, the last. */
async function lookBack(wanted) {
  session.past ??= {};
  const { id, past } = session;
  past.wanted = wanted;
  if (past.asking) return;
  past.asking = true;
  while (past.shown !== past.wanted) {
    const at = past.wanted;
    const isHere = () => past === session?.past;
    try {
      const state = await stateAt(id, at);
      if (!isHere()) return;
      // A moment that is still to come.
      if (typeof at === "string" && state.seq >= session.seq) return backToNow();
      Object.assign(past, { seq: state.seq, items: state.items, at: null });
      $("moment").value = state.seq;
      setScene(state.items);
      compareWithNow();
      const { changes } = await askSession(id, `/changes?after=${Math.max(0, state.seq - 1)}&limit=1`);
      if (!isHere()) return;
      const change = changes.find(({ seq }) => seq === state.seq);
      past.told = `As it was after change ${grouped.format(state.seq)}`;
      if (change) {
        past.at = Date.parse(change.at);
        past.told += `, ${clock(change.at)}, by ${change.user_id}`;
        // What it did is only asked for when nobody goes on.
        if (past.wanted === at && state.seq > session.timeline?.first_seq) past.told += await didIn(id, state, change);
        if (!isHere()) return;
      }
    } catch (error) {
      if (!isHere()) return;
      past.told = `Change ${typeof at === "number" ? grouped.format(at) : at} can’t be shown: ${error.message ?? "it wasn’t answered"}`;
    }
    past.shown = at;
    flushSoon();
    noteAddress();
  }
  past.asking = false;
}

/** What a change did, in words. */
async function didIn(id, state, { message }) {
  const item = message?.command?.item_id;
  const before = await stateAt(id, state.seq - 1).catch(() => null);
  if (!before || typeof item !== "string") return "";
  const [old, now] = [before, state].map(({ items }) => new Map([[item, items.get(item)]].filter(([, data]) => data)));
  const [one] = differences(old, now);
  const words = one && wordsFor(one);
  return words ? `: ${words.text} ${one.title}${words.tail}` : "";
}

/** What has happened since the moment that is shown: outlined, and in words. */
function compareWithNow() {
  const { past, items } = session;
  past.differences = differences(past.items, items);
  past.compared = performance.now();
  write($("since-sum"), differencesInWords(past.differences));
  const nodes = past.differences.slice(0, SINCE).map((one) => {
    const { text = one.how, tail = "" } = wordsFor(one) ?? {};
    const mark = make("span", { "aria-hidden": true, className: `mark ${one.how}`, textContent: OUTLINES[one.how][2] });
    const removal = one.how === "removed" && session.changes.find((change) => change.action === "remove_item" && change.item_id === one.id);
    return make("li", {}, mark, `${text} `, name(one.title), tail, ...(removal ? [" by ", name(removal.user_id)] : []));
  });
  if (past.differences.length > SINCE) nodes.push(soft("li", `and ${grouped.format(past.differences.length - SINCE)} more`));
  $("since").replaceChildren(...nodes);
  redraw();
}

/** Something has changed while the past is shown; at most once a second. */
function fillSince() {
  const { past } = session;
  $("since-box").hidden = !past?.differences;
  if (!past?.differences || !panels.since) return;
  if (performance.now() - past.compared < 1000) return void setTimeout(flushSoon, 1000);
  panels.since = false;
  compareWithNow();
}

function backToNow() {
  session.past = null;
  $("versions").value = "";
  setScene(session.items);
  flush();
}

/** One change earlier or later. */
function step(by) {
  if (by > 0 && !session.past) return;
  const { min, max, value } = $("moment");
  const to = Math.max(Number(min), Number(value) + by);
  if (to >= Number(max)) return backToNow();
  $("moment").value = to;
  lookBack(to);
}

$("now").onclick = backToNow;
$("earlier").onclick = () => step(-1);
$("later").onclick = () => step(1);
$("moment").oninput = $("versions").onchange = ({ target: { value, max } }) => {
  if (!value || value === max) return backToNow();
  $("moment").value = value;
  lookBack(Number(value));
};
$("go-to").onchange = ({ target: { value } }) => {
  const at = new Date(value);
  if (!isNaN(at)) lookBack(at.toISOString());
};
