// The differences between the past that is shown and now, as outlines: each kind has a line and a mark of its own.

const OUTLINES = { // the tone, the dashes and the mark
  removed: ["source", [7, 4], "−"], added: ["splitter", [2, 3], "+"], moved: ["accent", [], "→"], changed: ["ink", [10, 3, 2, 3], "≠"],
};
const MOST_OUTLINES = 400;

function drawDifferences(context) {
  for (const { how, id, data, from } of session.past?.differences?.slice(0, MOST_OUTLINES) ?? []) {
    const [tone, dashes, mark] = OUTLINES[how];
    const then = from && [screenX(millimetres(from.x_mm)), screenY(millimetres(from.y_mm))];
    const now = [screenX(millimetres(data.x_mm)), screenY(millimetres(data.y_mm))];
    const [x, y] = then ?? now;
    const wide = scene.get(id)?.wide ?? (data.object_height_mm > 0 ? Math.min(1e6, data.object_height_mm) / 2 : 12);
    const half = Math.max(9, wide * view.scale) + 6;
    context.strokeStyle = context.fillStyle = colours[tone];
    context.lineWidth = 2;
    context.setLineDash(dashes);
    context.beginPath();
    if (how === "removed") context.rect(x - half, y - half, 2 * half, 2 * half);
    else context.arc(x, y, half, 0, 7);
    if (how === "moved" && Math.hypot(now[0] - x, now[1] - y) > half) drawArrow(context, x, y, ...now, half);
    context.stroke();
    context.setLineDash([]);
    context.beginPath();
    context.arc(x + half * 0.72, y - half * 0.72, 9, 0, 7);
    context.fill();
    context.fillStyle = colours.panel;
    context.font = "bold 14px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(mark, x + half * 0.72, y - half * 0.72 + 5);
  }
}

/** From the rim of where it was to where it is now. */
function drawArrow(context, fromX, fromY, toX, toY, half) {
  const angle = Math.atan2(toY - fromY, toX - fromX);
  context.moveTo(fromX + half * Math.cos(angle), fromY + half * Math.sin(angle));
  context.lineTo(toX, toY);
  for (const side of [0.4, -0.4]) {
    context.moveTo(toX, toY);
    context.lineTo(toX - 10 * Math.cos(angle + side), toY - 10 * Math.sin(angle + side));
  }
}
