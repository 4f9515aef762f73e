"""What a run has to keep to itself, its keys and what was said in messages, and a search for it in what servers wrote.

All programs of a run write into one folder: what is confidential, and whatever the servers wrote where others may read
it (output, log files, error messages, close reasons, plain answers). In the end the one is looked for in the other.
"""

import atexit
import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import tempfile
import threading
from pathlib import Path
from urllib.parse import quote

# Run on its own, a program has a folder of its own and searches it itself.
ALONE = "STORIES_RECORD" not in os.environ
FOLDER = Path(os.environ["STORIES_RECORD"] if not ALONE else tempfile.mkdtemp(prefix="stories-"))
if ALONE:
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

SHORTEST = 8  # bytes of a key; what is shorter stands in a log by chance
WORDS = 12  # characters of a content: shorter ones are names of things, too
LONGEST = 48  # of a content, that many bytes give it away

# Fields that name things: a log and an error may say whom or what they are about.
NAMES = {
    "type", "original_type", "action", "item_type", "item_id", "_type", "uuid", "item_uuid", "id", "t", "timestamp",
    "user_id", "target_user", "session_id", "client_id", "channel", "thread_id", "epoch", "connection_type",
}

# Keys that stand in the documentation.
PUBLIC = {"development", "valid-test-key"}

_lock = threading.Lock()
_numbers = itertools.count(1)
_confided = set()


def _append(name, text):
    with _lock, open(FOLDER / f"{name}-{os.getpid()}", "a", encoding="utf-8") as file:
        file.write(text + "\n")


def _confide(what, text):
    if (what, text) not in _confided:
        _confided.add((what, text))
        _append("confidential", json.dumps([what, text]))


def has_secrets():
    """Whether this program has anything to keep to itself."""
    return bool(_confided)


def key(text):
    """Remember a key, right or wrong, that somebody shows to a server."""
    if isinstance(text, str) and text not in PUBLIC:
        _confide("key", text)
    return text


def contents(message):
    """What a message says, other than whom and what it is about, as (what, text)."""
    if isinstance(message, dict):
        for name, value in message.items():
            if name == "api_key" and isinstance(value, str):
                yield "key", value
            elif name not in NAMES:
                yield from contents(value)
    elif isinstance(message, list):
        for value in message:
            yield from contents(value)
    elif isinstance(message, str) and len(message) >= WORDS:
        yield "content", message[:400]


def parsed(text):
    """A message as it was on the wire. One that is not JSON is a text to be kept as well."""
    try:
        return json.loads(text)
    except ValueError:
        return text if isinstance(text, str) else None


def said(message):
    """Remember what a message says."""
    for what, text in contents(message):
        key(text) if what == "key" else _confide(what, text)


def said_text(text):
    said(parsed(text))


def heard(text):
    """Keep what a server told a client in an error, a close reason or a plain answer."""
    _append("heard", text)


def heard_message(message, text):
    """Keep a message if it is an error or a good-bye."""
    if message.get("type") in ("error", "disconnect"):
        heard(text)


@contextlib.contextmanager
def output():
    """A function that keeps a server's output, line by line as bytes."""
    with open(FOLDER / f"output-{os.getpid()}-{next(_numbers)}", "ab", buffering=0) as file:
        yield file.write


def log(path):
    """Keep a log file before its folder goes."""
    if Path(path).is_file():
        shutil.copyfile(path, FOLDER / f"log-{os.getpid()}-{next(_numbers)}")


def forms(what, text):
    """The byte strings that give something confidential away."""
    if what == "content":
        # Quoted, escaped or cut, a run of plain characters stays what it is.
        runs = re.findall(r"[ !#-\[\]-~]+", text)
        return {run.encode()[:LONGEST] for run in runs if len(run) >= WORDS}
    found = {text, quote(text, safe="")}
    if len(text) >= 3 * SHORTEST:
        # Half a key is half a secret; and whoever logs keys may log them cut.
        found |= {text[: len(text) // 2], text[len(text) // 2 :]}
    # In a Basic header the user's name before it shifts the key by nought, one or two bytes.
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + text.encode()).decode()
        found.add(coded[4 if shift else 0 : -4])
    return {form.encode() for form in found}


def find(confidential, written):
    """Where something of `[(what, text)]` stands in the bytes written: a list of `(what, line)`."""
    wanted = {}
    for what, text in confidential:
        for form in forms(what, text):
            if len(form) >= SHORTEST:
                wanted.setdefault(form[:SHORTEST], []).append((what, form))
    found = {}
    for start in range(len(written) - SHORTEST + 1):
        for what, form in wanted.get(written[start : start + SHORTEST], ()):
            if written.startswith(form, start):
                line = written[written.rfind(b"\n", 0, start) + 1 :].split(b"\n", 1)[0]
                found[what, line.decode(errors="replace")] = None
    return list(found)


def _lines(pattern):
    """The different lines of all files with such names, and how many files there are."""
    files = sorted(FOLDER.glob(pattern))
    lines = {re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z", b"", line) for f in files for line in f.read_bytes().splitlines()}
    return lines, len(files)


def search(whole=True):
    """Look for all that was confided in all that was written; returns (fault or None, what was searched in words).

    After a whole run it is a fault as well if there was nothing to look for or nowhere to look.
    """
    confidential = set()
    for line in _lines("confidential-*")[0]:
        what, text = json.loads(line)
        # Programs that are not written in Python leave it to this one to take messages apart.
        confidential.update(contents(parsed(text)) if what == "message" else [(what, text)])
    confidential -= {("key", key) for key in PUBLIC}
    keys = sum(what == "key" for what, _ in confidential)
    (output_lines, servers), (log_lines, logs), (heard_lines, _) = (
        _lines(f"{name}-*") for name in ("output", "log", "heard")
    )
    written = output_lines | log_lines | heard_lines
    searched = (
        f"{keys} keys and {len(confidential) - keys} contents, in {servers} outputs of servers, {logs} log files and "
        f"{len(heard_lines)} errors, reasons and answers: {len(written)} different lines"
    )
    found = find(confidential, b"\n".join(written))
    if found:
        shown = "\n".join(f"a {what} in: {line[:400]}" for what, line in found[:8])
        return f"{len(found)} found\n{shown}", searched
    listens = any(b"listening on" in line for line in output_lines)
    at_work = any(b"DEBUG" in line for line in log_lines)
    refused = any(b"403" in line for line in heard_lines)
    if whole and not (keys and keys < len(confidential) and listens and at_work and refused):
        return "there was nothing to look for, or nowhere to look", searched
    return None, searched

