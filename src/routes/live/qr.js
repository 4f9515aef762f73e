// QR codes (ISO/IEC 18004) of texts: byte mode, error correction level M, versions 1 to 10. Pure.

// By version: how many bytes a block has for error correction, how many blocks there are, and how many bytes in all.
const QR_BLOCKS = [[10, 1, 26], [16, 1, 44], [26, 1, 70], [18, 2, 100], [24, 2, 134], [16, 4, 172], [18, 4, 196], [22, 4, 242], [22, 5, 292], [26, 5, 346]];
// By version, from 2 on: where the middles of alignment patterns are.
const QR_MIDDLES = [[], [18], [22], [26], [30], [34], [22, 38], [24, 42], [26, 46], [28, 50]];
const QR_MASKS = [
  (x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3, (x, y) => ((x / 3 | 0) + (y / 2 | 0)) % 2,
  (x, y) => (x * y % 2) + (x * y % 3), (x, y) => ((x * y % 2) + (x * y % 3)) % 2, (x, y) => (((x + y) % 2) + (x * y % 3)) % 2,
];

/** The product in the field of 256 elements that QR codes use. */
function qrTimes(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) product = (product << 1) ^ ((product >> 7) * 0x11d) ^ ((b >> bit & 1) * a);
  return product;
}

/** The `count` bytes for error correction that belong to `data` (Reed and Solomon). */
function qrCorrection(data, count) {
  // The coefficients of (x − 1)(x − 2)(x − 4)…, without the first.
  const divisor = [...Array(count - 1).fill(0), 1];
  for (let n = 0, root = 1; n < count; n++, root = qrTimes(root, 2))
    for (let i = 0; i < count; i++) divisor[i] = qrTimes(divisor[i], root) ^ (divisor[i + 1] ?? 0);
  const rest = Array(count).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    divisor.forEach((each, i) => (rest[i] ^= qrTimes(each, factor)));
  }
  return rest;
}

/** `value` and behind it the remainder of its division by `divisor`, which has `bits` + 1 bits. */
function qrChecked(value, divisor, bits) {
  let rest = value;
  for (let n = 0; n < bits; n++) rest = (rest << 1) ^ ((rest >> (bits - 1)) * divisor);
  return (value << bits) | rest;
}

/** The bytes of the code, in the order in which they are drawn. */
function qrBytes(text, version) {
  const [correction, blocks, total] = QR_BLOCKS[version - 1];
  const room = total - correction * blocks;
  const bits = [0, 1, 0, 0]; // byte mode
  const put = (value, count) => {
    for (let bit = count - 1; bit >= 0; bit--) bits.push((value >> bit) & 1);
  };
  put(text.length, version < 10 ? 8 : 16);
  for (const byte of text) put(byte, 8);
  put(0, Math.min(4, room * 8 - bits.length));
  put(0, -bits.length & 7);
  const data = [];
  for (let n = 0; n < bits.length; n += 8) data.push(parseInt(bits.slice(n, n + 8).join(""), 2));
  for (let pad = 0; data.length < room; pad ^= 1) data.push([0xec, 0x11][pad]);
  // The last blocks have a byte more where the bytes can't be divided equally.
  const short = Math.floor(room / blocks);
  const parts = [];
  for (let n = 0, from = 0; n < blocks; n++) {
    const to = from + short + (n >= blocks - (room % blocks) ? 1 : 0);
    parts.push(data.slice(from, to));
    from = to;
  }
  const corrections = parts.map((part) => qrCorrection(part, correction));
  const woven = (lists, longest) => Array.from({ length: longest }, (_, n) => lists.map((list) => list[n])).flat().filter((byte) => byte !== undefined);
  return [...woven(parts, short + 1), ...woven(corrections, correction)];
}

/** How hard a code is to read: runs of one colour, squares, what looks like a corner, and one colour more than the other. */
function qrPenalty(rows) {
  const size = rows.length;
  const lines = [...rows, ...rows.map((_, x) => rows.map((row) => row[x]))].map((line) => line.map(Number).join(""));
  let penalty = 0;
  for (const line of lines) {
    for (const run of line.match(/0{5,}|1{5,}/g) ?? []) penalty += run.length - 2;
    penalty += 40 * (line.match(/(?=00001011101|10111010000)/g) ?? []).length;
  }
  for (let y = 1; y < size; y++)
    for (let x = 1; x < size; x++)
      if (rows[y][x] === rows[y - 1][x] && rows[y][x] === rows[y][x - 1] && rows[y][x] === rows[y - 1][x - 1]) penalty += 3;
  const dark = rows.flat().filter(Boolean).length / size ** 2;
  return penalty + 10 * Math.floor(Math.abs(dark - 0.5) * 20);
}

/** The code of a text as rows of booleans, true where it is dark, without a margin; `null` where it is too long. */
function qrCode(text) {
  const bytes = [...new TextEncoder().encode(text)];
  const version = 1 + QR_BLOCKS.findIndex(([correction, blocks, total], n) => total - correction * blocks - (n < 9 ? 2 : 3) >= bytes.length);
  if (!version) return null;
  const size = 17 + 4 * version;
  const rows = Array.from({ length: size }, () => Array(size).fill(null)); // null: not drawn yet
  const set = (x, y, dark) => rows[y]?.[x] !== undefined && (rows[y][x] = Boolean(dark));
  /** Squares inside one another; `dark` says of each distance from the middle whether it is dark. */
  const rings = (x, y, dark) => {
    const reach = dark.length - 1;
    for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) set(x + dx, y + dy, dark[Math.max(Math.abs(dx), Math.abs(dy))]);
  };
  for (let n = 0; n < size; n++) {
    set(6, n, n % 2 === 0);
    set(n, 6, n % 2 === 0);
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) rings(x, y, [1, 1, 0, 1, 0]);
  const middles = [6, ...QR_MIDDLES[version - 1]];
  const last = middles.at(-1);
  for (const y of middles) for (const x of middles) if (![`6 6`, `6 ${last}`, `${last} 6`].includes(`${x} ${y}`)) rings(x, y, [1, 0, 1]);
  const format = (mask) => {
    const word = qrChecked(mask, 0x537, 10) ^ 0x5412;
    for (let n = 0; n < 15; n++) {
      const dark = (word >> n) & 1;
      if (n < 8) set(size - 1 - n, 8, dark), set(8, n < 6 ? n : n + 1, dark);
      else set(8, size - 15 + n, dark), set(n === 8 ? 7 : 14 - n, 8, dark);
    }
    set(8, size - 8, true);
  };
  format(0);
  const word = qrChecked(version, 0x1f25, 12);
  for (let n = 0; n < 18 && version >= 7; n++) {
    const [a, b] = [size - 11 + (n % 3), Math.floor(n / 3)];
    set(a, b, (word >> n) & 1);
    set(b, a, (word >> n) & 1);
  }
  // The bytes go up and down in columns of two, from the right; what is left over is light.
  const stream = qrBytes(bytes, version);
  const places = [];
  for (let right = size - 1, up = true; right > 0; right -= 2, up = !up) {
    if (right === 6) right = 5;
    for (let n = 0; n < size; n++) for (const x of [right, right - 1]) if (rows[up ? size - 1 - n : n][x] === null) places.push([x, up ? size - 1 - n : n]);
  }
  const drawn = QR_MASKS.map((mask, n) => {
    places.forEach(([x, y], at) => set(x, y, ((stream[at >> 3] >> (7 - (at & 7))) & 1) !== (mask(x, y) ? 0 : 1)));
    format(n);
    const copy = rows.map((row) => [...row]);
    return { copy, penalty: qrPenalty(copy) };
  });
  return drawn.reduce((best, each) => (each.penalty < best.penalty ? each : best)).copy;
}
