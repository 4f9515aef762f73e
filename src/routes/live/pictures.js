// The drawing as a file, and on paper.

/** The colours of the light theme, for paper: the first rule of the style has them. */
function lightColours() {
  const { style } = [...document.styleSheets[0].cssRules].find(({ selectorText }) => selectorText === ":root");
  return Object.fromEntries(TONES.map((tone) => [tone, style.getPropertyValue(`--${tone}`).trim()]));
}

/** What the window shows of the table, as an SVG element. Its items stand where they go to. */
function drawingAsSvg(ink) {
  const { width, height, scale } = view;
  const drawing = svg("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${width} ${height}`, width, height, "font-family": "system-ui, 'Segoe UI', Roboto, sans-serif", "font-size": 12 });
  const add = (tag, attributes, ...children) => drawing.append(svg(tag, attributes, ...children));
  add("rect", { width, height, fill: ink.table });
  const shown = inOrder([...scene.values()].filter((it) => inSight(it))).map((it) => ({ it, shape: it.shape, place: { x: it.toX, y: it.toY, angle: it.toAngle } }));
  const draw = (some) => some.forEach((each) => pathsOf(each, screenX, screenY, scale, (tone, colour) => (colour ? inkOf(colour, ink) : ink[tone]), 2).forEach((attributes) => add("path", attributes)));
  const isBehind = ({ shape }) => shape.kind === "background";
  draw(shown.filter(isBehind));
  if (25 * scale > 12) {
    // A hole every 25 mm.
    const gap = 25 * scale;
    const [x, y] = [screenX(0) % gap, screenY(0) % gap].map((shift) => short3(shift - gap / 2));
    add("defs", {}, svg("pattern", { id: "holes", x, y, width: gap, height: gap, patternUnits: "userSpaceOnUse" }, svg("circle", { cx: gap / 2, cy: gap / 2, r: Math.min(3, 1.75 * scale), fill: ink.hole })));
    add("rect", { width, height, fill: "url(#holes)" });
  }
  draw(shown.filter((each) => !isBehind(each)));
  if (beams.on) {
    for (const [colour, shades] of beamsByColour()) {
      shades.forEach((ends, shade) => {
        let d = "";
        for (let n = 0; n < ends.length; n += 4) d += `M${short3(ends[n])} ${short3(ends[n + 1])}L${short3(ends[n + 2])} ${short3(ends[n + 3])}`;
        if (d) add("path", { d, fill: "none", stroke: inkOf(colour, ink), "stroke-opacity": +opacityOf(shade).toFixed(2), "stroke-width": 1.2 });
      });
    }
  }
  const wanted = labelsFor(shown.map(({ it }) => it));
  // XML can't hold every character.
  const write = (text, x, y, more) => add("text", { x: short3(x), y: short3(y), fill: ink.ink, stroke: ink.table, "stroke-width": 3, "stroke-linejoin": "round", "paint-order": "stroke", ...more }, text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, ""));
  placeLabels(wanted, width, height - 24).forEach((spot, n) => spot && write(wanted[n].it.label, spot.x, spot.y, { "text-anchor": "middle" }));
  const { text, wide } = scaleBar();
  add("path", { d: `M16 ${height - 20}v5h${short3(wide)}v-5`, fill: "none", stroke: ink.ink });
  write(text, 21, height - 22);
  return drawing;
}

function download(name, blob) {
  const address = URL.createObjectURL(blob);
  make("a", { href: address, download: name }).click();
  // The browser has to have begun.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const PICTURES = {
  png() {
    const picture = make("canvas", { width: still.canvas.width, height: still.canvas.height });
    const whole = picture.getContext("2d");
    whole.fillStyle = colours.table;
    whole.fillRect(0, 0, picture.width, picture.height);
    for (const { canvas } of LAYERS) whole.drawImage(canvas, 0, 0);
    const name = fileNameFor(session.id, "png");
    return new Promise((done, fail) => picture.toBlob((blob) => (blob ? done(download(name, blob)) : fail(new Error("the browser makes none"))), "image/png"));
  },
  svg() {
    const text = new XMLSerializer().serializeToString(drawingAsSvg(colours));
    download(fileNameFor(session.id, "svg"), new Blob([text], { type: "image/svg+xml" }));
  },
  /** The table at the moment that is shown, byte for byte as the server says it: JavaScript can't write infinite numbers. */
  async file() {
    const { id, past } = session;
    const at = past ? `?at=${past.shown ?? past.wanted}` : "";
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const response = await fetch(addressInApi(`sessions/${encodeURIComponent(id)}/state${at}`), { headers, cache: "no-store", credentials: "omit" });
    if (!response.ok) throw new Error((await response.json().catch(() => 0))?.error?.message ?? response.status);
    download(fileNameFor(id, "json"), new Blob([await response.text()], { type: "application/json" }));
  },
  print: () => print(),
};

for (const [kind, save] of Object.entries(PICTURES)) {
  $(`as-${kind}`).onclick = async () => {
    $("pictures").open = false;
    try {
      await save();
      write($("picture-told"), "");
    } catch (error) {
      write($("picture-told"), `There is no file: ${error.message}`.slice(0, 200));
    }
  };
}

// On paper there is the table alone, in light colours, with its name and the time.
addEventListener("beforeprint", () => {
  if (!session || !view.width) return;
  const when = session.past?.told ?? new Date().toLocaleString();
  $("printed").replaceChildren(make("h1", {}, name(session.id)), make("p", { textContent: when }), drawingAsSvg(lightColours()));
});
addEventListener("afterprint", () => $("printed").replaceChildren());
document.addEventListener("pointerdown", ({ target }) => {
  if (!$("pictures").contains(target)) $("pictures").open = false;
});
$("pictures").onkeydown = ({ key: pressed }) => {
  if (pressed !== "Escape" || !$("pictures").open) return;
  $("pictures").open = false;
  $("pictures").firstElementChild.focus();
};
