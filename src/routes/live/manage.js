// What an operator does on the page: uploads a saved file, restores, renames, copies and deletes a session, ends a connection.
// Shown where the server says that this page may; the server decides each time.

const may = { all: false, here: false }; // administer all sessions, and the one that is shown

/** Takes what the server says of this page: of all sessions, and of the one that is shown. */
function learnPermission(all, here) {
  Object.assign(may, { all, here });
  $("upload-any").hidden = !all;
  $("manage").hidden = !session || !here;
  $("end").hidden = !all;
}

/** A request that changes something; resolves to the answer. */
const change = async (method, path, body) => (await request(path, { method, body, longest: 60000 })).json();
const pathOfSession = (id, more = "") => `sessions/${encodeURIComponent(id)}${more}`;

/** Says what was done, where it is seen and where it is heard. */
function announce(...words) {
  clearTimeout(announce.timer);
  $("done-text").replaceChildren(...words);
  $("done").hidden = false;
  say($("done-text").textContent);
  announce.timer = setTimeout(() => ($("done").hidden = true), 20000);
}

/**
 * Asks before something is done. `fields` are elements with labels, `act` does it: resolves to what is to be said, or throws a
 * refusal, which is shown; the dialog stays open then. The focus returns to where it was.
 */
function askBefore({ title, text, fields = [], button, act }) {
  const [dialog, why, yes] = [$("ask-dialog"), $("ask-why"), $("ask-yes")];
  write($("ask-title"), title);
  $("ask-text").replaceChildren(...text);
  $("ask-fields").replaceChildren(...fields);
  write(why, "");
  write(yes, button);
  yes.disabled = false;
  $("ask-form").onsubmit = async (event) => {
    event.preventDefault();
    if (yes.disabled) return;
    yes.disabled = true;
    write(why, "");
    try {
      const said = await act();
      dialog.close();
      if (said) announce(...said);
    } catch (refusal) {
      const { status, message } = refusal;
      write(why, status ? message || `The server refused it (${status}).` : "The server didn’t answer. Look whether it was done before you try again.");
    }
    yes.disabled = false;
  };
  $("ask-no").onclick = () => dialog.close();
  if (!dialog.open) dialog.showModal();
  (fields.map((field) => field.querySelector("input, select")).find(Boolean) ?? $("ask-no")).focus();
}

/** A field with its label. */
const labelled = (text, field) => make("label", {}, text, field);
const nameField = (value) => make("input", { value, required: true, maxLength: 128, autocomplete: "off", spellcheck: false });

// Uploading

const FILE_BYTES = 64e6; // more is no design; the server has a lower limit

const mended = ({ left_out: out = [], renamed = [] }) =>
  [
    out.length && `${counted(out.length, "item")} left out: ${out.slice(0, 3).map(({ message }) => message).join("; ").slice(0, 300)}${out.length > 3 ? " …" : ""}.`,
    renamed.length && `${counted(renamed.length, "item")} had an id that was taken, and got a new one.`,
  ].filter(Boolean).join(" ");

/** Asks where a file is to go, and puts it there. */
function upload(file) {
  const here = session;
  if (!(here ? may.here : may.all)) return announce("You may not upload a file here: that takes a key of level admin, or the server’s own machine.");
  if (file.size > FILE_BYTES) return announce(name(file.name), ` is too large for a design: ${bytes(file.size)}.`);
  const field = nameField(file.name.replace(/\.[^.]*$/, "").slice(0, 128));
  const into = () => here?.id ?? field.value.trim();
  let replace = Boolean(here);
  const act = async () => {
    const id = into();
    try {
      const answer = await change("PUT", pathOfSession(id, `/state${replace ? "?replace=1" : ""}`), file);
      return [name(file.name), ` is in `, here ? name(id) : sessionLink(id), `: ${counted(answer.items, "item")}. ${mended(answer)}`];
    } catch (refusal) {
      if (refusal.status !== 409 || replace) throw refusal;
      replace = true;
      write($("ask-yes"), "Replace the table");
      field.oninput = () => {
        replace = false;
        write($("ask-yes"), "Upload");
      };
      throw { status: 409, message: `There is a session of that name. Its table is replaced if you go on; what is there now stays as a version.` };
    }
  };
  const text = here
    ? ["The items of ", name(file.name), " take the place of those in ", name(here.id), ". What is there now stays as a version; the editors of people who are in it are told of each item, and keep their texts and rulers."]
    : ["A new session is made of ", name(file.name), ", as the editor’s File → Save wrote it."];
  askBefore({ title: "Upload a design", text, fields: here ? [] : [labelled("Session ID", field)], button: here ? "Replace the table" : "Upload", act });
}

for (const id of ["upload-any", "upload-here"]) $(id).onclick = () => $("file").click();
$("file").onchange = ({ target }) => {
  if (target.files[0]) upload(target.files[0]);
  target.value = "";
};
const hasFiles = ({ dataTransfer }) => [...(dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragover", (event) => {
  // A file that is dropped elsewhere would be opened in the page's place.
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
for (const end of ["dragleave", "drop"])
  addEventListener(end, (event) => {
    if (end === "drop" || !event.relatedTarget) document.body.classList.remove("dropping");
  });
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  const { files } = event.dataTransfer;
  if ($("ask-dialog").open || $("key-dialog").open) return;
  if (files.length === 1) upload(files[0]);
  else announce("Drop one file at a time.");
});

// What is done to the session that is shown

async function askRestore() {
  const { id, past } = session;
  const { versions } = await askSession(id, "/versions").catch(() => ({ versions: [] }));
  if (session?.id !== id) return;
  // What is there now is none to go back to.
  const earlier = versions.filter(({ seq }) => seq < session.seq);
  const options = earlier.slice(-200).reverse().map((version) => make("option", { value: version.seq, textContent: versionInWords(version) }));
  if (past?.seq) options.unshift(make("option", { value: past.seq, textContent: `what is shown: after change ${grouped.format(past.seq)}` }));
  if (!options.length) return announce("There is no version of ", name(id), " to go back to.");
  const select = make("select", {}, ...options);
  askBefore({
    title: "Restore a version",
    text: ["The table of ", name(id), " becomes what it was then, on the canvases of people who are in it, too. What is there now stays as a version."],
    fields: [labelled("Version", select)],
    button: "Restore",
    act: async () => {
      const { items } = await change("POST", pathOfSession(id, `/restore?to=${select.value}`));
      if (session?.past) backToNow();
      return [name(id), ` was restored: ${counted(items, "item")}.`];
    },
  });
}

function askRename() {
  const { id } = session;
  const field = nameField(id);
  askBefore({
    title: "Rename the session",
    text: ["Nobody may be in ", name(id), " while it is renamed. Links to it lead nowhere afterwards."],
    fields: [labelled("New Session ID", field)],
    button: "Rename",
    act: async () => {
      const to = field.value.trim();
      await change("POST", pathOfSession(id, `/rename?to=${encodeURIComponent(to)}`));
      location.hash = `#/session/${encodeURIComponent(to)}`;
      return [name(id), " is called ", name(to), " now."];
    },
  });
}

function askCopy() {
  const { id } = session;
  const field = nameField(`${id} copy`.slice(0, 128));
  askBefore({
    title: "Copy the session",
    text: ["A new session begins with the table of ", name(id), " as it is. Its versions stay with the first."],
    fields: [labelled("Session ID of the copy", field)],
    button: "Copy",
    act: async () => {
      const to = field.value.trim();
      const { items } = await change("POST", pathOfSession(id, `/copy?to=${encodeURIComponent(to)}`));
      return [name(id), " was copied to ", sessionLink(to), `: ${counted(items, "item")}.`];
    },
  });
}

function askDelete() {
  const { id } = session;
  askBefore({
    title: "Delete the session",
    text: ["The table of ", name(id), `, ${counted(session.items.size, "item")}, and all its versions are deleted. That can’t be undone. Nobody may be in it.`],
    button: "Delete",
    act: async () => {
      await change("DELETE", pathOfSession(id));
      location.hash = "#/";
      return [name(id), " was deleted."];
    },
  });
}

function askEnd() {
  const { id, quality } = session;
  const members = [...quality.values()].filter(({ connection }) => Number.isInteger(connection));
  if (!members.length) return announce("Nobody is in ", name(id), ".");
  const select = make("select", {}, ...members.map(({ user_id, connection }) => make("option", { value: connection, textContent: user_id })));
  askBefore({
    title: "End a connection",
    text: ["The editor says then that it is disconnected, and keeps its canvas. Nothing keeps its user from joining again; take away the key for that."],
    fields: [labelled("Whose", select)],
    button: "End it",
    act: async () => {
      const user = select.selectedOptions[0].textContent;
      await change("DELETE", `connections/${select.value}`);
      return ["The connection of ", name(user), " was ended."];
    },
  });
}

$("restore").onclick = askRestore;
$("rename").onclick = askRename;
$("copy").onclick = askCopy;
$("delete").onclick = askDelete;
$("end").onclick = askEnd;
$("done-close").onclick = () => ($("done").hidden = true);
