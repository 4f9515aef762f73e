// Where names stand, so that none covers another. Pure.

const LABEL_HEIGHT = 15; // pixels
const CELL = 48;

/** Rectangles by the cells of a grid; asks what lies in the way without looking at all of them. */
class Rectangles {
  cells = new Map();

  *keys([left, top, right, bottom]) {
    for (let x = Math.floor(left / CELL); x <= right / CELL; x++) for (let y = Math.floor(top / CELL); y <= bottom / CELL; y++) yield x * 65536 + y;
  }

  add(box) {
    for (const key of this.keys(box)) this.cells.has(key) ? this.cells.get(key).push(box) : this.cells.set(key, [box]);
  }

  hits(box) {
    for (const key of this.keys(box)) for (const other of this.cells.get(key) ?? []) if (box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]) return true;
    return false;
  }
}

/**
 * Places for labels, the most important first: each is wanted by `{ box, width }`, the pixels that its item covers (left, top,
 * right, bottom) and the width of its text. Below its item if it can stand there, else above or beside it, rather not on another
 * item. For each the middle of its text and its base line, or null where there is no room in a window of this size.
 */
function placeLabels(wanted, width, height) {
  const [labels, bodies] = [new Rectangles(), new Rectangles()];
  const seen = ({ box: [left, top, right, bottom] }) => right > 0 && left < width && bottom > 0 && top < height;
  const small = ({ box: [left, top, right, bottom] }) => right - left < width / 2 && bottom - top < height;
  for (const each of wanted) if (seen(each) && small(each)) bodies.add(each.box);
  return wanted.map((each) => {
    if (!seen(each)) return null;
    const [left, top, right, bottom] = each.box;
    const [x, y, half] = [(left + right) / 2, (top + bottom) / 2, each.width / 2];
    const spots = [[x, bottom + 14], [x, top - 5], [right + 6 + half, y + 4], [left - 6 - half, y + 4], [x, bottom + 29], [x, top - 20]];
    // The name of a thing that is larger than the window, or nearly, stands in its corner, and in sight.
    if (!small(each)) spots.unshift([Math.max(left, 0) + 8 + half, Math.min(bottom, height - 26) - 6], [Math.max(left, 0) + 8 + half, Math.max(top, 0) + 16]);
    let second = null;
    for (const spot of spots) {
      const area = [spot[0] - half - 3, spot[1] - LABEL_HEIGHT + 3, spot[0] + half + 3, spot[1] + 4];
      if (area[0] < 0 || area[1] < 0 || area[2] > width || area[3] > height || labels.hits(area)) continue;
      if (small(each) && bodies.hits(area)) second ??= { spot, area };
      else {
        labels.add(area);
        return { x: spot[0], y: spot[1] };
      }
    }
    if (!second) return null;
    labels.add(second.area);
    return { x: second.spot[0], y: second.spot[1] };
  });
}
