// Following a person: what they work on stays in view, until somebody moves the view or stops it.

function followButton(user) {
  return make("button", { onclick: () => (session.following === user ? stopFollowing() : follow(user)) }, "Follow", make("span", { className: "unseen", textContent: ` ${user}` }));
}

function markFollow(user, button) {
  button.setAttribute("aria-pressed", session.following === user);
}

function follow(user) {
  session.following = user;
  view.follows = false;
  const last = session.changes.find((change) => change.user_id === user && scene.has(change.item_id));
  if (last) followChange(user, last.item_id);
  const cursor = cursors.get(user);
  if (cursor) followTo(user, { ...cursor, wide: 0 });
  say(`Following ${user}`);
  showFollowing();
}

function stopFollowing() {
  if (!session?.following) return showFollowing();
  say(`Not following ${session.following} any more`);
  session.following = undefined;
  showFollowing();
}

function showFollowing() {
  const user = session?.following;
  $("following").hidden = !user;
  $("following-who").replaceChildren(...(user ? ["Following ", name(user)] : []));
  for (const [other, row] of memberRows) markFollow(other, row.follow);
}

/** Somebody has changed this item. */
function followChange(user, id) {
  if (scene.has(id)) followTo(user, scene.get(id));
}

/** Brings a place into the inner part of the view, where it isn't already, if this is the person who is followed. */
function followTo(user, place) {
  if (session.following !== user || session.past) return;
  const rim = Math.min(view.width, view.height) / 8 / view.scale;
  if (inSight(place, -rim)) return;
  Object.assign(view, { x: place.toX, y: place.toY, follows: false });
  renew();
}

$("stop-following").onclick = () => {
  stopFollowing();
  canvas.focus();
};
