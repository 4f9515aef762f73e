// How smoothly the live page draws: 500 items with the beams of 100 sources, and 10 people who drag at 60 changes a second each. Prints what it measures;
// on a machine without a graphics card, or with other work to do, that says more about the machine than about the page.

import { setTimeout as after } from "node:timers/promises";
import { closeBrowser } from "../tests/outside/browser.mjs";
import { Look, Member, item } from "../tests/outside/live_page.mjs";
import { startServer } from "../tests/outside/ws_story.mjs";

const [ITEMS, PEOPLE, SECONDS] = [500, 10, Number(process.argv[2] ?? 10)];
const kinds = ["lens", "mirror", "source", "splitter", "waveplate"];
const at = (list, share) => [...list].sort((a, b) => a - b)[Math.floor((list.length - 1) * share)]?.toFixed(1);

const server = await startServer();
const people = [];
for (let n = 0; n < PEOPLE; n++) people.push(await new Member(`${server.url}/ws/frames/person%20${n}`).joined());
const place = (n) => ({ x_mm: (n % 25) * 80, y_mm: Math.floor(n / 25) * 80, angle_deg: n * 7 });
const items = Array.from({ length: ITEMS }, (_, n) => ({
  ...item(`i${n}`, kinds[n % 5], `item ${n}`, 0, 0, 0, 50),
  ...place(n),
}));
await people[0].table(items);

const look = await Look.open(server, "#/session/frames");
await look.until("the table", (count) => scene.size === count && !tracer.behind, ITEMS);
const traced = () => look.page.evaluate(() => [[...tracer.rays()].length, [...tracer.rays()].reduce((sum, { legs }) => sum + legs.length, 0), tracer.thin]);
console.log("%d rays in %d legs, 1 in %d", ...(await traced()));

/** Counts frames, and how long the page's own part of each takes, while `what` goes on. */
async function measure(what) {
  const browser = look.visitor.browser();
  await browser.startTracing(look.page, { categories: ["devtools.timeline"] });
  await look.page.evaluate(() => {
    const real = (window.realFrame ??= requestAnimationFrame);
    window.spent = [];
    window.requestAnimationFrame = (draw) =>
      real((now) => {
        const began = performance.now();
        draw(now);
        spent.push(performance.now() - began);
      });
    window.intervals = [];
    let last = performance.now();
    window.counting = true;
    real(function count(now) {
      intervals.push(now - last);
      last = now;
      if (counting) real(count);
    });
  });
  await what();
  // The processor's time, without that of others on the same machine: of the page's script for each frame.
  const { traceEvents } = JSON.parse(await browser.stopTracing());
  // What counts frames takes less.
  const frames = traceEvents.filter(({ name, tdur }) => name === "FireAnimationFrame" && tdur > 300).map(({ tdur }) => tdur / 1000);
  const { spent, intervals } = await look.page.evaluate(
    () => ((window.counting = false), { spent: window.spent, intervals: window.intervals.slice(1) }),
  );
  const total = intervals.reduce((sum, each) => sum + each, 0);
  const late = intervals.filter((each) => each > 25).length;
  const own = spent.length
    ? `the page's part of one ${at(spent, 0.5)} ms, 99 % within ${at(spent, 0.99)} ms`
    : "none of them drawn";
  return `${((1000 * intervals.length) / total).toFixed(1)} frames/s (99 % within ${at(intervals, 0.99)} ms, ${late} of ${intervals.length} late), ${own}; processor time of one ${at(frames, 0.5)} ms, 90 % within ${at(frames, 0.9)} ms, 99 % within ${at(frames, 0.99)} ms`;
}

console.log(`nothing moves: ${await measure(() => after(2000))}`);
let sent = 0;
const dragging = await measure(async () => {
  const end = performance.now() + SECONDS * 1000;
  for (let step = 0; performance.now() < end; step++) {
    people.forEach((person, n) => {
      const data = {
        ...items[n * 47 + 3],
        x_mm: 1000 + 900 * Math.sin(step / 40 + n),
        y_mm: 800 + 700 * Math.cos(step / 55 + 2 * n),
        angle_deg: step % 360,
      };
      for (const action of ["move_item", "update_item"])
        person.socket.send(
          JSON.stringify({ type: "command", command: { action, item_id: data.item_uuid, item_type: data._type, data } }),
        );
      person.socket.send(JSON.stringify({ type: "cursor", x_mm: data.x_mm, y_mm: data.y_mm }));
      person.waiting.length = 0;
      sent += 3;
    });
    await after(1000 / 60 - ((performance.now() - (end - SECONDS * 1000)) % (1000 / 60)));
  }
});
console.log(`${PEOPLE} drag, ${Math.round(sent / SECONDS)} messages/s: ${dragging}`);
console.log("then %d rays in %d legs, 1 in %d", ...(await traced()));
const panning = await measure(async () => {
  for (let n = 0; n < 120; n++)
    await look.page.evaluate((n) => (pan(6 * Math.sin(n / 9), 4), new Promise((done) => setTimeout(done, 16))), n);
});
console.log(`the view moves: ${panning}`);

await look.end();
for (const person of people) person.end();
server.process.kill("SIGKILL");
await closeBrowser();
