// How to join: the addresses that others can use, the fields to copy, and the page's address as a QR code.

let addresses = addressesFor(HERE, null);
let joining = "default"; // the session that the overview tells how to join

/** Takes what the server says of itself. */
function learn(server) {
  line.upAt = Date.now();
  write($("version"), server.server.version);
  const told = addressesFor(HERE, server.addresses);
  if (JSON.stringify(told) === JSON.stringify(addresses)) return;
  addresses = told;
  showJoining();
}

/** The page's address for others, of the overview or of a session; a key is never in it. */
const pageAt = (page, id) => page + (id === null ? "" : `#/session/${encodeURIComponent(id)}`);

/** Fills the fields for the session that is shown. */
function showJoining() {
  const choice = $("address");
  const chosen = addresses.find(({ socket }) => socket === choice.value) ?? addresses[0];
  choice.replaceChildren(...addresses.map(({ socket }) => make("option", { textContent: new URL(socket).host, value: socket })));
  choice.value = chosen.socket;
  choice.hidden = choice.labels[0].hidden = addresses.length < 2;
  const link = pageAt(chosen.page, session?.id ?? (joining === "default" ? null : joining));
  $("server-url").value = chosen.socket;
  $("session-name").value = session?.id ?? joining;
  $("forward").value = `collabd forward ${chosen.socket}`;
  $("page-url").value = link;
  if ($("qr").title === link) return;
  const code = qrCode(link);
  const size = code && code.length + 8;
  const squares = code?.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  const drawn = code
    ? [svg("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": "QR code of this page’s address" }, svg("path", { d: squares })), make("figcaption", { textContent: "This page, for a phone’s camera" })]
    : [make("figcaption", { textContent: "The address is too long for a QR code" })];
  $("qr").title = link;
  $("qr").replaceChildren(...drawn);
}

/** Puts a field's text on the clipboard. The newer way is only for pages that came over TLS. */
function copyFrom(field, button) {
  field.select();
  const done = document.execCommand("copy");
  (done ? button : field).focus({ preventScroll: true });
  write(button, done ? "Copied" : "Press Ctrl+C");
  say(done ? "Copied" : "It couldn’t be copied: press Ctrl+C");
  setTimeout(write, 1500, button, "Copy");
}

/** Tells on the overview how to join this session. */
function tellHowToJoin(id) {
  joining = id;
  showJoining();
  write($("how-title"), id === "default" ? "Join from Optiverse" : `Join “${id}” from Optiverse`);
  $("how-title").focus({ preventScroll: true });
  $("how").scrollIntoView();
}

$("join-any").onclick = () => tellHowToJoin("default");
$("address").onchange = showJoining;
for (const button of document.querySelectorAll(".copy button")) {
  const field = button.previousElementSibling;
  button.setAttribute("aria-label", `Copy ${field.labels[0].textContent}`);
  button.onclick = () => copyFrom(field, button);
}
