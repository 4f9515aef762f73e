// The key: the tab remembers it. It may come behind the #, for a display on a wall, and is taken out of the address at once.

const KEPT = "collabd.key";
let key = recall("sessionStorage", KEPT);
let isForgotten = false; // by hand: it isn't asked for at once

function keepKey(given) {
  key = given || null;
  isForgotten = !key;
  remember("sessionStorage", KEPT, key);
}

function takeKeyFromAddress() {
  const { pathname, search, hash } = location;
  const left = searchWithoutKey(search) + withoutKey(hash);
  if (left === search + hash) return;
  history.replaceState(null, "", pathname + left);
  const given = keyIn(hash) || keyIn(search);
  if (given) keepKey(given);
}

takeKeyFromAddress();
addEventListener("hashchange", takeKeyFromAddress);

/** Asks for a key; resolves when the dialog is closed. `status` is that of the refusal; without one a person asked for the dialog. */
function askForKey({ status } = {}) {
  const dialog = document.getElementById("key-dialog");
  const close = () => dialog.close();
  write($("key-title"), status ? "This server asks for a key" : "The key of this tab");
  write($("key-why"), !status ? "" : status === 429 ? "Too many wrong keys came from this address. Wait a minute." : key ? "That key doesn’t open this." : "");
  write($("key-state"), key ? "A key is in use." : "No key is in use.");
  $("key-forget").hidden = !key;
  $("key-form").onsubmit = (event) => {
    event.preventDefault();
    keepKey($("key").value.replace(/[^!-~]/g, ""));
    close();
  };
  $("key-forget").onclick = () => {
    keepKey(null);
    close();
  };
  $("key-cancel").onclick = close;
  dialog.showModal();
  return new Promise((done) => {
    dialog.onclose = () => {
      $("key").value = "";
      done();
    };
  });
}
