// A session's first state is fetched, packed, and its socket is then followed from there: a slow line carries a tenth.

const STALLED = 15000; // milliseconds without a byte

/** How much of a text has come: `312 of 480 kB`; the whole is 0 where it isn't known. */
const progressOf = (part, whole) => {
  if (!(whole >= part)) return bytes(part);
  const [of, unit] = bytes(whole).split(" ");
  const digits = of.split(".")[1]?.length ?? 0;
  return `${(part * (of / whole)).toFixed(digits)} of ${of} ${unit}`;
};

/** Reads an answer as JSON and tells how many bytes have come, of how many. */
async function readCounting(response, alive) {
  // The browser unpacks what comes: its length is the one before it was packed.
  const packed = response.headers.has("Content-Encoding");
  const whole = Number(response.headers.get(packed ? "Collabd-Length" : "Content-Length")) || 0;
  const [reader, parts] = [response.body.getReader(), []];
  for (let part, size = 0; !(part = await reader.read()).done; ) {
    parts.push(part.value);
    alive((size += part.value.length), whole);
  }
  return JSON.parse(await new Blob(parts).text());
}

/** Fetches the state, unless it is known; `session.seq` says as of which change. Resolves to the refusal, if there is one. */
async function fetchFirstState(mine) {
  const asked = session;
  if (asked.known) return null;
  const stalled = new AbortController();
  let timer = null;
  const alive = (size, whole) => {
    clearTimeout(timer);
    timer = setTimeout(() => stalled.abort(), STALLED);
    if (mine === turn && size) line.show("wait", `Loading: ${progressOf(size, whole)}`);
  };
  asked.leave = () => stalled.abort();
  alive();
  try {
    const response = await request(`sessions/${encodeURIComponent(asked.id)}/state`, { signal: stalled.signal });
    const state = await readCounting(response, alive);
    if (mine !== turn) return null;
    Object.assign(asked, { epoch: state.epoch, seq: state.seq });
    takeState(state);
    line.show("wait", "Connecting…");
  } catch (error) {
    // What came in part is left: the socket brings the state as well, if the server is there.
    if (error.status) return error;
  } finally {
    clearTimeout(timer);
  }
  return null;
}
