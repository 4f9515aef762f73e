// The server's address, its API, and how the connection is.

const HERE = new URL(".", location.href.split(/[?#]/)[0]);
const SOCKETS = HERE.href.replace(/^http/, "ws");

/** The address of a path of the API; throws a refusal where a browser can't ask for it. */
function addressInApi(path) {
  const address = apiAddress(path, HERE);
  if (!address) throw { status: 404, message: "A browser can’t ask for the names . and .." };
  return address;
}

/** A request to the API; resolves to the answer, and throws a refusal. */
async function request(path, { headers = {}, longest = 10000, ...options } = {}) {
  const given = key ? { Authorization: `Bearer ${key}`, ...headers } : headers;
  const response = await fetch(addressInApi(path), { headers: given, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(longest), ...options });
  const { ok, status } = response;
  if (!ok && status !== 304) throw { status, message: ((await response.json().catch(() => 0))?.error?.message ?? "").slice(0, 200), wantsKey: [401, 403, 429].includes(status) };
  return response;
}

/** What the API answers; throws its refusal. */
async function ask(path) {
  const answer = await (await request(path)).json();
  // A state's time stamp is its own.
  if (answer.timestamp && !answer.items) clockBehind = Date.parse(answer.timestamp) - Date.now();
  return answer;
}
const askSession = (id, more = "") => ask(`sessions/${encodeURIComponent(id)}${more}`);

const line = {
  failures: 0,
  upAt: null, // when the server was last heard
  wake() {}, // ends a wait
  show(is, text, canHurry = false) {
    $("line").dataset.is = is;
    write($("line-text"), text);
    $("hurry").hidden = !canHurry;
  },
  up() {
    if (this.failures > 0) say("Connected again");
    this.failures = 0;
    this.show("up", "Live");
    this.gone(false);
  },
  /** What is shown of a server that is gone is marked as old. */
  gone(isGone) {
    document.body.classList.toggle("gone", isGone);
    const seconds = (Date.now() - this.upAt) / 1000;
    $("old").hidden = !isGone || this.upAt === null || seconds < 3;
    if (!$("old").hidden) write($("old"), `Nothing has come from the server for ${duration(seconds)}. What you see is how it was at ${clock(this.upAt)}.`);
  },
  /** Waits, longer each time; a click or the network's return ends it. `isGone`: the server itself is. */
  async down(what, { longest = 15, isGone = true } = {}) {
    if (this.failures++ === 0) say(`${what}. Trying again`);
    let left = Math.min(longest, 2 ** (this.failures - 2)) * (0.8 + 0.4 * Math.random());
    const hurried = new Promise((done) => (this.wake = () => done((left = 0))));
    for (; left > 0; left -= 1) {
      this.show("lost", `${what}. Trying again in ${Math.ceil(left)} s`, true);
      this.gone(isGone);
      await Promise.race([hurried, pause(Math.min(1, left) * 1000)]);
    }
    this.show("wait", `${what}. Trying again…`);
  },
  /** Until there is another key, or the person asks for it. */
  async locked(refusal) {
    const before = key;
    this.show("lost", "A key is needed");
    if (!isForgotten) await askForKey(refusal);
    isForgotten = false;
    if (key !== before) return;
    $("hurry").hidden = false;
    await new Promise((done) => (this.wake = done));
  },
};
$("hurry").onclick = () => line.wake();
addEventListener("online", () => line.wake());

// A page nobody sees asks nothing.
async function rest(milliseconds) {
  await pause(milliseconds);
  if (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
}

let turn = 0; // what a view has begun goes on while it is its turn
