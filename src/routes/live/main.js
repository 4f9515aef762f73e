// What is shown stands behind the # of the address.

function route() {
  const [, encoded = null] = /^#\/session\/(.+)$/.exec(location.hash) ?? [];
  let id = encoded;
  try {
    id = encoded && decodeURIComponent(encoded);
  } catch {} // then it is what it says
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
  else watchSession(id);
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
