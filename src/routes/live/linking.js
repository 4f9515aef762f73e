// The address follows what is shown, so that a link shows it to others; and what a link says is shown.

let noting = null;

/** Writes what is shown into the address, half a second after the last change. It is no new entry of the history. */
function noteAddress() {
  if (noting || !session?.known) return;
  const mine = session;
  noting = setTimeout(() => {
    noting = null;
    // It may have been left already, and the page not told yet.
    if (mine !== session || readAddress(location.hash)?.id !== session.id) return;
    const { id, past, chosen: item, wish } = session;
    const at = wish?.at ?? past?.seq;
    const hash = addressOf({ id, at, view: view.follows ? null : view, item: item ?? wish?.item });
    if (hash !== location.hash) history.replaceState(history.state, "", hash);
  }, 500);
}

/** What the address asks for beside the session: shown once the table is there. */
function grantWish() {
  const { wish } = session;
  session.wish = null;
  if (!wish) return;
  if (wish.view) Object.assign(view, wish.view, { follows: false });
  if (wish.at !== undefined) lookBack(wish.at).then(() => session?.past && !session.past.items && backToNow());
  if (wish.item !== undefined) choose(wish.item, { bring: !wish.view });
  renew();
}
