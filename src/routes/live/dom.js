// Elements of the page.

const $ = (id) => document.getElementById(id);

/** An element with these properties or attributes. Children that are strings become text. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) name in node ? (node[name] = value) : node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Unchanged text costs no layout and isn't read out again.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const soft = (tag, textContent) => make(tag, { className: "soft", textContent });
const small = (tag) => make(tag, { className: "small" });

/** Replaces the children; the focus stays. */
function arrange(parent, nodes) {
  const { children } = parent;
  if (nodes.length === children.length && nodes.every((node, n) => node === children[n])) return;
  const focused = document.activeElement;
  parent.replaceChildren(...nodes);
  focused?.focus({ preventScroll: true });
}

/** For screen readers: who comes and goes, how the connection is. */
function say(text) {
  if (say.next) return (say.next += `. ${text}`);
  say.next = text;
  setTimeout(() => {
    $("spoken").textContent = say.next.slice(0, 400);
    say.next = "";
  }, 500);
}
