// Somebody at the live page: what they see of it, what it asks for, and what it complains about.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { newVisitor } from "./browser.mjs";
import { Connection } from "./front_end.mjs";
import { KeyRing, inTime, installed, python, startServer, story } from "./ws_story.mjs";

const DEADLINE = 20_000; // milliseconds; only a failing story ever waits this long
const axe = installed("axe-core").source;

/** A story at the live page of a server of its own; everything ends with it. `options` are the server's. */
export function atPage(title, tell, options = () => []) {
  story(title, async () => {
    const [closing, keys] = [[], new KeyRing()];
    const own = (thing) => (closing.push(thing), thing);
    const desk = { keys, own };
    desk.start = async (...more) => (desk.server = await startServer(...desk.options, ...more));
    desk.look = async (where, how) => own(await Look.open(desk.server, where, how));
    desk.member = (session, user, path = "") =>
      own(new Member(`${desk.server.url}${path}/ws/${encodeURIComponent(session)}/${encodeURIComponent(user)}`));
    desk.editor = (...words) => Editor.start(own, desk.server, ...words);
    /** The server is taken away, and another one comes in its place. */
    desk.stop = async () => {
      desk.server?.process.kill("SIGKILL");
      await inTime(desk.server?.exited, () => "the server to be gone");
    };
    try {
      desk.options = options(desk);
      await desk.start();
      await tell(desk);
      for (const each of closing) each.inspect?.();
      desk.server.inspect();
    } catch (error) {
      // What a page complained of is often the cause of what was waited for in vain.
      const complaints = closing.flatMap((each) => each.complaints ?? []);
      if (complaints.length) error.stack += `\nthe pages complained: ${complaints.join("\n")}`;
      throw error;
    } finally {
      for (const each of closing.reverse()) await each.end();
      await desk.stop();
      keys.close();
    }
  });
}

/** A member of a session that is no editor: it says what it is told to. */
export class Member extends Connection {
  async joined() {
    this.ack = await this.next("connection:ack");
    await this.next("user:joined");
    return this;
  }

  /** One command about an item; resolves when it has been applied. */
  async command(action, item_id, data, item_type = "component") {
    const id = `${action} ${(this.count = (this.count ?? 0) + 1)}`;
    this.send({ type: "command", id, command: { action, item_type, item_id, data } });
    await this.confirmed(id);
  }

  /** The whole table at once. */
  async table(items) {
    const id = `table ${(this.count = (this.count ?? 0) + 1)}`;
    this.send({ type: "sync:update", id, state: { items, version: 1 } });
    await this.confirmed(id);
  }

  async confirmed(id) {
    for (;;) {
      const message = await this.take(`the confirmation of ${id}`);
      assert.ok(!message.closed && !message.refused && message.type !== "error", JSON.stringify(message));
      if (message.type === "message_delivered" && message.id === id) return;
    }
  }

  end() {
    this.socket.terminate();
  }
}

/** The stand-in for Optiverse, on PyQt6's QWebSocket, that does what a story tells it. */
class Editor {
  static async start(own, server, session, user, role = "host", items = 0) {
    const script = fileURLToPath(new URL("live_editor.py", import.meta.url));
    const words = [script, server.port, session, user, role, items].map(String);
    const editor = own(new Editor());
    editor.process = spawn(python, words, { stdio: ["pipe", "pipe", "inherit"] });
    editor.exited = once(editor.process, "exit");
    editor.lines = createInterface({ input: editor.process.stdout })[Symbol.asyncIterator]();
    editor.canvas = await editor.answer("the editor to arrive");
    return editor;
  }

  async answer(what) {
    const { value, done } = await inTime(this.lines.next(), () => what, 2 * DEADLINE);
    assert.ok(!done, `the editor ended before ${what}`);
    return JSON.parse(value);
  }

  /** Resolves when it has been done, and has passed the hub. */
  do(...what) {
    this.process.stdin.write(`${JSON.stringify(what)}\n`);
    return this.answer(`${what[0]} to be done`);
  }

  async end() {
    this.process.stdin.end();
    const late = setTimeout(() => this.process.kill("SIGKILL"), DEADLINE);
    await this.exited;
    clearTimeout(late);
  }
}

const polarizing = (polarizer_subtype, more) => ({
  element_type: "polarizing_interface",
  ...{ polarizer_subtype, phase_shift_deg: 90, fast_axis_deg: 0, transmission_axis_deg: 0 },
  ...{ extinction_ratio_db: 40, rotation_angle_deg: 45, ...more },
});
const splitting = (is_polarizing) => ({
  element_type: "beam_splitter",
  ...{ split_T: 50, split_R: 50, is_polarizing, pbs_transmission_axis_deg: 0 },
});
// What a component does, by its kind: its category, and what its interface says beside its ends.
const COMPONENTS = {
  lens: ["lenses", { element_type: "lens", efl_mm: 100 }],
  concave: ["lenses", { element_type: "lens", efl_mm: -100 }],
  mirror: ["mirrors", { element_type: "mirror", reflectivity: 99 }],
  splitter: ["beamsplitters", splitting(false)],
  polarizing: ["beamsplitters", splitting(true)],
  dichroic: [
    "dichroics",
    { element_type: "dichroic", cutoff_wavelength_nm: 700, transition_width_nm: 50, pass_type: "longpass" },
  ],
  waveplate: ["waveplates", polarizing("waveplate")],
  polariser: ["misc", polarizing("linear_polarizer")],
  glass: ["misc", { element_type: "refractive_interface", n1: 1, n2: 1.5, is_curved: false, radius_of_curvature_mm: 0 }],
  block: ["misc", { element_type: "beam_block" }],
};

/**
 * An item as the editor sends it, field by field: a `source`, which has no name, or a `component` of one of these kinds or of
 * some other category (a `background` is drawn behind all else).
 */
export function item(item_uuid, kind, name, x_mm, y_mm, angle_deg = 0, height = 40) {
  const placed = { item_uuid, x_mm, y_mm, angle_deg, locked: false, z_value: 0 };
  if (kind === "source")
    return {
      _type: "source",
      ...placed,
      ...{ size_mm: height, n_rays: 5, ray_length_mm: 1500, spread_deg: 0, color_hex: "#dc143c", wavelength_nm: 633 },
      ...{ polarization_type: "horizontal", polarization_angle_deg: 0, use_custom_jones: false },
      ...{ custom_jones_ex_real: 1, custom_jones_ex_imag: 0, custom_jones_ey_real: 0, custom_jones_ey_imag: 0 },
    };
  const [category, does] = COMPONENTS[kind] ?? [kind, null];
  // The editor's mirrors begin at their lower end, its lenses at their upper one.
  const top = kind === "mirror" ? -height / 2 : height / 2;
  const ends = { x1_mm: 0, y1_mm: top, x2_mm: 0, y2_mm: -top, name: "" };
  return {
    _type: "component",
    ...placed,
    ...{ name, category, object_height_mm: height, mm_per_pixel: height / 1000, image_path: "", notes: null },
    reference_line_mm: does ? [0, top, 0, -top] : null,
    interfaces: does ? [{ ...ends, ...does }] : [],
  };
}

/** Where a session's table is, behind the page's address. */
export const sessionPage = (id) => `#/session/${encodeURIComponent(id)}`;

/** The live page in a browser. */
export class Look {
  static async open(server, where = "", how = {}) {
    const look = new Look();
    look.visitor = await newVisitor({ viewport: { width: 1280, height: 800 }, ...how });
    look.page = await look.visitor.newPage();
    look.home = `http://127.0.0.1:${server.port}/`;
    look.complaints = [];
    look.strays = [];
    // Complaints that belong to the story. The pictures are read by the stories alone.
    look.expected = [/getImageData/];
    look.page.on("console", (line) => {
      if (["error", "warning"].includes(line.type())) look.complaints.push(`${line.text()} ${line.location().url}`);
    });
    look.page.on("pageerror", (error) => look.complaints.push(String(error.stack)));
    look.page.on("dialog", (dialog) => look.complaints.push(`a dialog: ${dialog.message()}`));
    const asked = (url) => {
      const to = new URL(url);
      if (to.protocol !== "data:" && to.host !== new URL(look.home).host) look.strays.push(url);
    };
    look.page.on("request", (request) => asked(request.url()));
    look.page.on("websocket", (socket) => asked(socket.url()));
    await look.page.goto(look.home + where);
    return look;
  }

  /** Waits until something is so in the page, and resolves to it. */
  async until(what, condition, argument) {
    const end = performance.now() + DEADLINE;
    for (;;) {
      const value = await this.page.evaluate(condition, argument);
      if (value) return value;
      if (performance.now() > end)
        throw new Error(
          `waited ${DEADLINE / 1000} s for ${what}; the page says:\n${await this.page.locator("main, header").allInnerTexts()}`,
        );
      await after(20);
    }
  }

  /** Waits for this text to be somewhere in the page (or in what a selector finds). */
  shows(text, selector = "body") {
    return this.until(
      `${JSON.stringify(text)} in ${selector}`,
      ([text, selector]) =>
        [...document.querySelectorAll(selector)].some(
          (node) => node.checkVisibility() && node.innerText.includes(text),
        ),
      [text, selector],
    );
  }

  isLive() {
    return this.until("the page to be live", () => document.querySelector("#line").dataset.is === "up");
  }

  /** What is drawn, as the page's own script has it. */
  drawn(id) {
    return this.page.evaluate(
      (id) =>
        scene.has(id) && (({ x, y, angle, title, kind, by }) => ({ x, y, angle, title, kind, by }))(scene.get(id)),
      id,
    );
  }

  /** A number that another picture would have, too, only by chance. */
  picture(canvas = "lively") {
    return this.page.evaluate((canvas) => {
      const { width, height } = document.getElementById(canvas);
      const { data } = document.getElementById(canvas).getContext("2d").getImageData(0, 0, width, height);
      return data.reduce((sum, value) => (sum * 31 + value) % 4294967291, 7);
    }, canvas);
  }

  /** What axe-core finds that would keep somebody from using the page. */
  async barriers() {
    await this.page.evaluate(axe);
    const { violations } = await this.page.evaluate(() => axe.run());
    return violations
      .filter(({ impact }) => ["serious", "critical"].includes(impact))
      .map(
        ({ id, nodes }) =>
          `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`,
      );
  }

  inspect() {
    const complaints = this.complaints.filter((text) => !this.expected.some((one) => one.test(text)));
    assert.deepEqual(complaints, [], "the page complains");
    assert.deepEqual(this.strays, [], "the page asked somebody else");
  }

  end() {
    return this.visitor.close();
  }
}
