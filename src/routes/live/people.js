// People: each has a colour, and a shape for those who can't tell the colours apart.

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8e6bbf", "#8a7a3a"];
const SHAPES = [
  "M8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14z", "M2 2h12v12H2z", "M8 1l7.5 13.5H.5z", "M8 0l8 8-8 8-8-8z", "M5.5 1h5v4.5H15v5h-4.5V15h-5v-4.5H1v-5h4.5z",
  "M4.5 1h7l4 7-4 7h-7l-4-7z", "M8 15L.5 1.5h15z", "M8 0l2.3 5.2 5.7.6-4.3 3.8 1.2 5.6L8 12.3l-4.9 2.9 1.2-5.6L0 5.8l5.7-.6z",
];
const looks = new Map();

/** Of up to eight people in a session no two look alike. */
function lookOf(user) {
  if (!looks.has(user)) {
    const wearers = COLOURS.map((_, look) => [...looks.values()].filter((other) => other === look).length);
    let look = [...user].reduce((hash, letter) => (hash * 31 + letter.codePointAt(0)) % 65521, 7) % COLOURS.length;
    while (wearers[look] > Math.min(...wearers)) look = (look + 1) % COLOURS.length;
    if (looks.size > 2000) looks.clear();
    looks.set(user, look);
  }
  return looks.get(user);
}
const colourOf = (user) => COLOURS[lookOf(user)];

const marker = (user) => svg("svg", { class: "marker", viewBox: "-1 -1 18 18", "aria-hidden": true }, svg("path", { d: SHAPES[lookOf(user)], fill: colourOf(user) }));

/** A name, isolated in its writing direction. */
const name = (text) => make("bdi", { textContent: text, title: text });

function person({ user_id: user, is_host, read_only }) {
  const node = make("span", { className: "person" }, marker(user), name(user));
  for (const tag of [is_host && "host", read_only && "reads"]) if (tag) node.append(make("span", { className: "tag", textContent: tag }));
  return node;
}

const CLASH = 3; // takeovers within five minutes; a lost connection makes one

/** Tells of people who push one another out because they use one name: the editor doesn't say why it lost its connection. */
function showClash(node, members) {
  const names = members.filter(({ takeovers }) => takeovers >= CLASH).map((member) => member.user_id);
  node.hidden = !names.length;
  if (node.told === names.join("\n")) return;
  node.told = names.join("\n");
  node.replaceChildren(...names.flatMap((user) => ["Two editors use the name ", name(user), ": each pushes the other out. Change Your Name in one of them. "]));
}
