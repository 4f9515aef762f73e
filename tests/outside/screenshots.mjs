// The README's pictures, of the real page: three people build an interferometer for some minutes (the first argument).

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { closeBrowser } from "./browser.mjs";
import { Look, Member, item } from "./live_page.mjs";
import { startServer } from "./ws_story.mjs";

const MINUTES = Number(process.argv[2] ?? 6);
const DOCS = fileURLToPath(new URL("../../docs/", import.meta.url));

/** This lens with another focal length. */
const focusing = (lens, efl_mm) => ({ ...lens, interfaces: lens.interfaces.map((each) => ({ ...each, efl_mm })) });

// Each faces along its angle, clockwise: at 0 a component's line lies along y.
const TABLE = [
  item("hene", "source", "", -375, 0, 0, 11),
  focusing(item("f50", "lens", "Lens f=50", -310, 0, 0, 36), 50),
  focusing(item("f150", "lens", "Lens f=150", -110, 0, 0, 52), 150),
  item("bs", "splitter", "BS 50:50", 0, 0, 45, 60),
  item("m1", "mirror", "M1 (piezo)", 0, 225, 270, 56),
  item("comp", "waveplate", "Compensator", 100, 0, 0, 44),
  item("m2", "mirror", "M2", 250, 0, 0, 56),
  focusing(item("f75", "lens", "Lens f=75", 0, -100, 90, 48), 75),
  item("camera", "misc", "Camera", 0, -200, 90, 60),
  { ...item("diode", "source", "", -375, -200, 0, 16), color_hex: "#1b9e3f", wavelength_nm: 532 },
  item("dm", "dichroic", "Dichroic 700", -200, -200, 45, 50),
  focusing(item("f-100", "concave", "Lens f=-100", -200, -120, 270, 40), -100),
];
const OTHERS = { "cavity, week 47": ["grace"], holography: ["dave", "erin", "frank"], "teaching lab": [] };

const folder = mkdtempSync(path.join(tmpdir(), "pictures-"));
const server = await startServer("--data-dir", folder);
const enter = (session, user) => new Member(`${server.url}/ws/${encodeURIComponent(session)}/${user}`).joined();
const people = {};
for (const user of ["alice", "bob", "carol"]) people[user] = await enter("interferometer", user);
await people.alice.table(TABLE);
const others = [];
for (const [session, users] of Object.entries(OTHERS)) {
  const author = await enter(session, users[0] ?? "heidi");
  await author.table(TABLE.slice(0, 3 + others.length * 2));
  if (!users.length) author.end();
  else others.push(author);
  for (const user of users.slice(1)) await enter(session, user);
}

/** Drags an item of the interferometer there, as an editor does. */
async function drag(user, uuid, x, y, angle, steps = 40) {
  const data = TABLE.find((each) => each.item_uuid === uuid);
  const from = { ...data };
  for (let n = 1; n <= steps; n++) {
    const share = (1 - Math.cos((Math.PI * n) / steps)) / 2;
    const between = (field, to) => from[field] + (to - from[field]) * share;
    Object.assign(data, { x_mm: between("x_mm", x), y_mm: between("y_mm", y), angle_deg: between("angle_deg", angle) });
    for (const action of ["update_item", "move_item"])
      people[user].send({ type: "command", command: { action, item_id: uuid, item_type: data._type, data } });
    await after(16);
  }
  for (const person of Object.values(people)) person.waiting.length = 0;
}

// Some minutes of work, some of them busier than others.
const end = performance.now() + MINUTES * 60_000;
for (let round = 0; performance.now() < end; round++) {
  await drag("bob", "f75", 0, -90 - (round % 4) * 8, 90);
  await drag("alice", "m1", (round % 3) * 2 - 2, 225 + (round % 2) * 10, 270 + (round % 3));
  for (const [n, author] of others.entries()) {
    for (let change = 0; change < ((round * (n + 3)) % 7) * 4; change++)
      author.send({
        type: "command",
        command: {
          action: "move_item",
          item_id: "f50",
          item_type: "component",
          data: { x_mm: change, y_mm: round, angle_deg: 0 },
        },
      });
    author.waiting.length = 0;
  }
  await after(400 + 1600 * Math.abs(Math.sin(round / 5)));
}

const viewport = { width: 1200, height: 760 };
const pictures = [
  ["overview", "", "light"],
  ["session", "#/session/interferometer", "light"],
  ["session-dark", "#/session/interferometer", "dark"],
];
for (const [name, where, colorScheme] of pictures) {
  const look = await Look.open(server, where, { viewport, colorScheme });
  await look.isLive();
  // The second answer knows rates and round trips.
  await after(3000);
  if (where) {
    people.carol.send({ type: "cursor", x_mm: 120, y_mm: 110 });
    await drag("bob", "f75", 14, -96, 90);
    await Promise.all([drag("alice", "m1", 2, 219, 271), drag("bob", "f75", 0, -112, 90)]);
    await after(300);
  }
  await look.page.screenshot({ path: path.join(DOCS, `live-${name}.png`) });
  await look.end();
}
server.process.kill("SIGKILL");
await server.exited;
await closeBrowser();
rmSync(folder, { recursive: true });
process.exit();
