// Small drawings of the tables on the overview: of the cards in sight, one request at a time, only after a change.

const THUMBNAIL = [132, 84]; // width and height
const MOST_BYTES = 2e6; // of a document that is fetched for its thumbnail
const cardsByNode = new WeakMap();
let isDrawing = false;
let fetching = new AbortController(); // aborted when the overview is left: a slow line has other things to carry

const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) cardsByNode.get(target).isSeen = isIntersecting;
  drawThumbnails(turn);
}, { rootMargin: "120px" });

/** The card in sight whose drawing has been old for longest. */
function nextToDraw() {
  const old = ({ isSeen, session, drawn, drawAfter }) => isSeen && drawn !== `${session.epoch} ${session.seq}` && performance.now() > drawAfter;
  return [...cards.values()].filter(old).sort((a, b) => a.drawAfter - b.drawAfter)[0];
}

async function drawThumbnails(mine) {
  if (isDrawing || session) return;
  isDrawing = true;
  for (let card; mine === turn && !document.hidden && (card = nextToDraw()); ) {
    const began = performance.now();
    await drawThumbnail(card).catch(() => (card.drawAfter = performance.now() + 15000));
    // A slow server or line is asked less often.
    await pause(Math.max(100, 4 * (performance.now() - began)));
  }
  isDrawing = false;
}

function stopThumbnails() {
  fetching.abort();
  fetching = new AbortController();
}

async function drawThumbnail(card) {
  const { session_id: id, epoch, seq, items, bytes } = card.session;
  // Of a table on which people are working.
  card.drawAfter = performance.now() + 3000;
  let paths = [];
  if (items && bytes <= MOST_BYTES) {
    const response = await request(`sessions/${encodeURIComponent(id)}/state`, { signal: fetching.signal, headers: card.tag ? { "If-None-Match": card.tag } : {} });
    card.tag = response.headers.get("ETag");
    paths = response.status === 304 ? null : thumbnail((await response.json()).items, ...THUMBNAIL);
  }
  card.drawn = `${epoch} ${seq}`;
  if (paths) card.picture.replaceChildren(...paths.map((attributes) => svg("path", attributes)));
}
