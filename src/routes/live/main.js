// What is shown stands behind the # of the address.

function route() {
  const wish = readAddress(location.hash);
  const id = wish && wish.id;
  const again = turn > 0;
  session?.leave?.();
  stopThumbnails();
  session = null;
  line.wake();
  line.failures = 0;
  line.gone(false);
  $("overview").hidden = id !== null;
  $("session").hidden = id === null;
  document.body.classList.toggle("at-table", id !== null);
  document.title = id === null ? "collabd" : `${id} – collabd`;
  if (id === null) watchOverview();
  else watchSession(id, wish);
  if (again) $(id === null ? "overview-title" : "session-title").focus();
}

$("logo").src = document.querySelector("link[rel=icon]").href;
$("key-menu").onclick = async () => {
  const before = key;
  await askForKey();
  if (key === before) return;
  say(key ? "The key was changed" : "The key was forgotten");
  route();
};
addEventListener("hashchange", route);
route();
