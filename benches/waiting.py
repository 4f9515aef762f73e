"""How long one message keeps everyone else waiting: the largest of each shape that the default limits let through.

A pair of clients in another session, and a second one in the same session, sends a small command every 4 ms and
measures until it arrives; the figure is the slowest one while the message is handled and what follows from it is
sent. `--before BINARY` measures another collabd in turn; a shape's number measures that one alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from servers import BENCH_TARGET, COLLABD, DATA, HERE, LISTEN, LOAD, LONGEST, SERVERS, Server, progress

# What nobody should wait longer than, and what nobody may, in ms.
AIM, BAR = 50, 500
BEFORE = "collabd before"
# The default limits, with room for the item that a pair drags and for a message's other fields.
ROOM = 4096
MESSAGE = (1 << 20) - ROOM
CANVAS = (4 << 20) - ROOM
# How many items a document may have, but for the pair's.
ITEMS = (4 << 20) // 200 - 10
# What an item costs in a document beside its fields' names and values.
FIELD = 4
COMPONENTS = 2600
SESSION = 1
DRAGGED = f'{{"uuid":"item-{SESSION}-0-0","item_type":"lens"}}'
HIGH_LIMITS = ["--rate-bytes", "0"]  # two canvases at once are more than a client may send in a second

TOO_SLOW = ", as too slow"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def short(number, length):
    """A name of so many characters."""
    letters = []
    for _ in range(length):
        number, rest = divmod(number, len(LETTERS))
        letters.append(LETTERS[rest])
    return "".join(letters)


def many_fields(value, is_whole=True, limit=MESSAGE):
    """An item of as many fields as fit, each with this digit as its value."""
    own = '"item_uuid":"wide","item_type":"source"' + (',"_type":"source","x_mm":0.0,"y_mm":0.0' if is_whole else "")
    count = (limit - 2 * len(own)) // len('"abc":0,')
    fields = (f'"{short(number, 3)}":{value}' for number in range(count))
    return f"{{{own},{','.join(fields)}}}"


def state(items, kind="sync:full_state", user="host"):
    """A canvas. One that replaces the document has the item, too, that the pair drags."""
    if kind == "sync:update":
        items = [DRAGGED, *items]
    target = f',"target_user":"{user}"' if kind == "sync:full_state" else ""
    canvas = f'{{"items":[{",".join(items)}],"version":1}}'
    return f'{{"type":"{kind}","state":{canvas}{target},"user_id":"{user}"}}'


def tiny_items(limit, prefix, has_type, most=ITEMS):
    """As many items as fit into a document; `prefix` makes their ids others."""
    kind = '"_type":"source","item_type":"source"' if has_type else '"item_type":"a"'
    example = f'{{"uuid":"{prefix}abc",{kind}}},'
    # The id counts once by itself, too.
    each = max(len(example), len(example) - 2 + len(prefix) + 3)
    return [f'{{"uuid":"{prefix}{short(number, 3)}",{kind}}}' for number in range(min(limit // each, most))]


def components(count, nth=0):
    """Components as the editor's, of 0.5 KB; another `nth` has another value in one field of each."""
    items = []
    for number in range(count):
        item = {
            "_type": "component",
            "x_mm": 10.0 * (number % 60),
            "y_mm": 10.0 * (number // 60) + nth,
            "angle_deg": 90.0,
            "object_height_mm": 55.9,
            "mm_per_pixel": 0.0559,
            "name": f"L{number} f=100",
            "image_path": "objects/library/lens_1_inch/images/lens_1_inch.png",
            "reference_line_mm": [0.0, 27.95, 0.0, -27.95],
            "interfaces": [
                {"x1_mm": 3.0, "y1_mm": 27.95, "x2_mm": 3.0, "y2_mm": -27.95, "element_type": "lens", "efl_mm": 100}
            ],
            "category": "lenses",
            "notes": None,
            "item_uuid": f"{number:08x}-3c1e-4f0a-9b1d-0242ac120002",
            "locked": False,
            "z_value": 0.0,
            "uuid": f"{number:08x}-3c1e-4f0a-9b1d-0242ac120002",
            "item_type": "component",
        }
        items.append(json.dumps(item, separators=(",", ":")))
    return items


def long_interfaces(limit, nth):
    """Components with as many interfaces as fit, in four items at most: one has to fit into a message."""
    items = []
    size = min(MESSAGE, limit // 4 - ROOM)
    first = f'{{"x1_mm":{nth}.0,"y1_mm":5.0,"x2_mm":3.0,"y2_mm":-5.0,"element_type":"lens","efl_mm":100}}'
    for number in range(limit // size):
        start = f'{{"_type":"component","item_type":"component","uuid":"{number}","image_path":"a.png","x_mm":0.0,"y_mm":0.0'
        count = (size - len(start) - len(first) - ROOM // 4) // len(",{}")
        rest = ",{}" * count
        items.append(f'{start},"interfaces":[{first}{rest}]}}')
    return items


def command(action, data):
    return f'{{"type":"command","command":{{"action":"{action}","item_type":"source","item_id":"wide","data":{data}}}}}'


def padded(start, end, size=MESSAGE + ROOM):
    return start + "x" * (size - len(start) - len(end)) + end


def wide_alone(clients):
    host = clients.join("host", "sharing")
    text = state([many_fields(0)])
    yield "first", clients.say(host, text)
    yield "again", clients.say(host, text)
    yield "all changed", clients.say(host, state([many_fields(1)]))


def tiny(clients, has_type=False):
    host = clients.join("host", "sharing")
    clients.pair()
    text = state(tiny_items(clients.canvas, "", has_type))
    yield "first", clients.say(host, text)
    yield "again", clients.say(host, text)


def editors_tiny(clients):
    yield from tiny(clients, has_type=True)


def too_many(clients):
    host = clients.join("host", "sharing")
    clients.pair()
    yield "", clients.say(host, state(tiny_items(clients.canvas, "", has_type=False, most=clients.canvas)))


def real(clients):
    host = clients.join("host", "sharing")
    clients.pair()
    count = min(COMPONENTS, clients.canvas // 700)
    yield "first", clients.say(host, state(components(count)))
    yield "one field of each", clients.say(host, state(components(count, 1)))


def interfaces(clients):
    host = clients.join("host", "sharing")
    clients.pair()
    yield "first", clients.say(host, state(long_interfaces(clients.canvas, 0)))
    yield "moved", clients.say(host, state(long_interfaces(clients.canvas, 1)))


def replaced(clients):
    host = clients.join("host", "script")
    clients.pair()
    for prefix, step in (("A", "first"), ("B", "others")):
        yield step, clients.say(host, state(tiny_items(clients.canvas, prefix, has_type=False), "sync:update"))


def updated(clients):
    host = clients.join("host", "editor")
    clients.pair()
    count = clients.canvas // 700
    for nth, step in ((0, "first"), (1, "one field of each"), (1, "again")):
        yield step, clients.say(host, state(components(count, nth), "sync:update"))


def added(clients):
    host = clients.join("host", "editor")
    clients.pair()
    yield "", clients.say(host, command("add_item", many_fields(0)))


def whole(clients):
    host = clients.join("host", "editor")
    clients.pair()
    clients.say(host, command("add_item", many_fields(0)))
    yield "first", clients.say(host, command("update_item", many_fields(1)))
    yield "second", clients.say(host, command("update_item", many_fields(2)))


def partial(clients):
    host = clients.join("host", "editor")
    clients.pair()
    clients.say(host, command("add_item", many_fields(0)))
    yield "first", clients.say(host, command("update_item", many_fields(1, is_whole=False)))
    yield "second", clients.say(host, command("update_item", many_fields(2, is_whole=False)))


def chat(clients):
    members = [clients.join(f"m{number}", "script") for number in range(100)]
    clients.pair()
    yield "", clients.say(members[0], padded('{"type":"chat","text":"', '"}'))


def requests(clients):
    host = clients.join("host", "sharing")
    clients.pair()
    members = [clients.join(f"m{number}", "editor") for number in range(20)]
    clients.say(host, state(components(clients.canvas // 700)))
    yield "", clients.say(",".join(members), '{"type":"sync:request"}')


def channel(clients):
    members = [clients.join(f"c{number}", "channel") for number in range(100)]
    yield "", clients.say(members[0], padded('{"type":"channel_message","channel":"all","data":{"content":"', '"}}'))


def restored(clients):
    host = clients.join("host", "editor")
    clients.pair()
    clients.say(host, state(components(clients.canvas // 700), "sync:update"))
    described = clients.http("GET", f"/api/sessions/s{SESSION}")
    clients.say(host, state(tiny_items(clients.canvas, "A", has_type=False), "sync:update"))
    clients.tell("begin")
    clients.http("POST", f"/api/sessions/s{SESSION}/restore?to={described['seq']}")
    yield "", clients.tell("end")


def nothing(clients):
    clients.join("host", "script")
    clients.pair()
    clients.tell("begin")
    time.sleep(1)
    yield "", clients.tell("end")


SHAPES = {
    "0": ("nothing", nothing, ()),
    "1": ("full_state of a lone host: one item, all fields", wide_alone, ()),
    "2": ("full_state: tiny items", tiny, ()),
    "2e": ("full_state: tiny items of an editor", editors_tiny, ()),
    "2m": ("full_state: more tiny items than are taken", too_many, ()),
    "3": ("full_state: 2,600 real components", real, ()),
    "4": ("full_state: long lists of interfaces", interfaces, ()),
    "5": ("sync:update: tiny items, replaced by others", replaced, ()),
    "6": ("sync:update: real components", updated, ()),
    "7": ("add_item: all fields", added, ()),
    "8": ("update_item, whole: all fields changed", whole, ()),
    "9": ("update_item, partial: all fields changed", partial, ()),
    "10": ("chat to 100 members", chat, ()),
    "11": ("sync:request by 20 members", requests, ()),
    "12": ("channel_message to 100 clients", channel, ("--dev-keys",)),
    "13": ("restore by the API", restored, "stored"),
}


class Clients:
    """The clients of one measurement: what is said here is done by the load generator."""

    def __init__(self, server, canvas):
        self.server = server
        self.canvas = canvas
        self.directory = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [LOAD, "waiting", f"addr={server.addr}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.tell("pair 0")

    def tell(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(self.process.stderr.read().strip() or "the load generator has ended")
        return json.loads(answer)

    def pair(self):
        self.tell(f"pair {SESSION}")

    def join(self, name, mode):
        path = f"/client_{name}" if mode == "channel" else f"/ws/s{SESSION}/{name}"
        self.tell(f"join {name} {path} {mode}")
        return name

    def say(self, names, text):
        file = Path(self.directory.name) / "message"
        file.write_text(text, encoding="utf-8")
        return {**self.tell(f"say {names} {file}"), "size": len(text)}

    def http(self, method, path):
        request = urllib.request.Request(f"http://{self.server.addr}{path}", method=method)
        with urllib.request.urlopen(request, timeout=LONGEST) as answer:
            return json.load(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.directory.cleanup()


def largest_canvas(binary):
    """What a canvas may have: earlier versions took no message that is larger than any other."""
    text = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout
    return CANVAS if "but a whole canvas" in text else MESSAGE


def look(server, shape, canvas):
    """One look at a shape: {step: report}. None where that was not possible, with a line that says why."""
    what, play, options = SHAPES[shape]
    steps = {}
    try:
        with tempfile.TemporaryDirectory(dir=DATA if DATA.exists() else None) as data:
            options = ("--data-dir", data) if options == "stored" else options
            with Server(server, *HIGH_LIMITS, *options) as running, Clients(running, canvas) as clients:
                for step, report in play(clients):
                    steps[step] = report
                    if report["is_stuck"]:
                        break
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        progress("")
        print(f"{server}, {what}{''.join(f' ({step} was done)' for step in steps)}: {error}")
        return None
    return steps


def wait(steps, pair):
    """The longest wait of a pair in any of the steps; None where there was no such pair, or its connection ended."""
    waits = [report["waits"][pair] for report in steps.values() if len(report["waits"]) > pair]
    return max((wait for wait in waits if wait is not None), default=None)


def measure_waiting(repetitions, shapes=SHAPES, before=None, is_quick=False):
    """{shape: {server: [{step: report}, …]}}; all servers have their turn at each shape.

    With `is_quick` what keeps to the bar is looked at once. So is what does not end.
    """
    names = {"collabd": COLLABD, **({BEFORE: before} if before else {})}
    if before:
        SERVERS[BEFORE] = [before, *LISTEN]
    canvases = {name: largest_canvas(binary) for name, binary in names.items()}
    waited = {shape: {name: [] for name in names} for shape in shapes}
    for shape, servers in waited.items():
        for repetition in range(repetitions):
            for name, looks in servers.items():
                if looks and (is_stuck(looks) or (is_quick and keeps_to_bar(looks[0]))):
                    continue
                progress(f"{repetition + 1}/{repetitions} waiting: {SHAPES[shape][0]}, {name}")
                steps = look(name, shape, canvases[name])
                if steps:
                    looks.append(steps)
    progress("")
    return waited


def keeps_to_bar(steps):
    waits = [wait for report in steps.values() for wait in report["waits"]]
    return all(wait is not None and wait <= BAR for wait in waits)


def has_ended_others(looks):
    return any(None in report["waits"] for steps in looks for report in steps.values())


def is_stuck(looks):
    return any(report["is_stuck"] for report in looks[0].values())


def longest(looks, pair):
    """The median of the longest waits; None where nothing was measured."""
    waits = [wait(steps, pair) for steps in looks]
    waits = [wait for wait in waits if wait is not None]
    return statistics.median(waits) if waits else None


def print_waiting(waited):
    print(
        "\nthe largest message of each shape: the longest that a command of others took meanwhile, in another session /"
        f"\nin the same one, in ms (aim {AIM}, bar {BAR}); by steps, and until the sender had the answer to its next ping"
    )
    for shape, servers in waited.items():
        for name, looks in servers.items():
            figures = [longest(looks, pair) for pair in (0, 1)]
            texts = ["       -" if figure is None else f"{figure:8.1f}" for figure in figures]
            worst = max((figure for figure in figures if figure is not None), default=None)
            verdict = judged(worst, looks)
            what = f"{shape:>2} {SHAPES[shape][0]}" if name == "collabd" else "   before"
            print(f"  {what:52} {texts[0]} /{texts[1]}  {verdict:12}  {by_steps(looks)}".rstrip())
            for note in notes(looks):
                print(f"      {note}")


def judged(worst, looks):
    if worst is None:
        return "not measured"
    if has_ended_others(looks):
        return "ENDS OTHERS"
    return "" if worst <= AIM else "over the aim" if worst <= BAR else "OVER THE BAR"


def by_steps(looks):
    texts = []
    for step in looks[0] if looks else ():
        reports = [steps[step] for steps in looks if step in steps]
        waits = [[wait for wait in waits if wait is not None] for waits in zip(*(report["waits"] for report in reports))]
        figures = " / ".join(f"{statistics.median(waits):.0f}" if waits else "ended" for waits in waits)
        answered = statistics.median(report["answered"] for report in reports)
        size = f", {reports[0]['size'] / (1 << 20):.1f} MiB" if "size" in reports[0] else ""
        texts.append(f"{step}{': ' if step else ''}{figures} ({answered:.0f}{size})")
    return "; ".join(texts)


def notes(looks):
    """What the clients were told that should not be."""
    have_ended = False
    for step in looks[0] if looks else ():
        report = looks[0][step]
        if report["is_stuck"]:
            yield f"{step} was not over after 20 s".strip()
        if None in report["waits"] and not have_ended:
            have_ended = True
            yield f"{step} ended the connection of another member{TOO_SLOW if report['too_slow'] else ''}".strip()
        if report["errors"]:
            yield f"{step} {report['errors']} errors, {report['closed']} closed: {report['error']}".strip()


def judge(bars, waited):
    for pair, where in enumerate(("another session", "the same session")):
        waits = [longest(servers["collabd"], pair) for servers in waited.values()]
        waits = [wait for wait in waits if wait is not None]
        is_complete = all(servers["collabd"] for servers in waited.values())
        bars.at_most(f"one message keeps {where} waiting", max(waits) if waits and is_complete else None, BAR, " ms")
    ended = sum(has_ended_others(servers["collabd"]) for servers in waited.values())
    bars.at_most("messages that end the connections of others", ended, 0)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--before", metavar="BINARY", help="another collabd, measured in turn")
    options.add_argument("--repetitions", type=int, default=3, metavar="N", help="medians of so many (default 3)")
    options.add_argument("--json", metavar="FILE", help="write everything that was measured there")
    options.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {', '.join(SHAPES)}; without any, all")
    options = options.parse_args()
    for shape in options.shapes:
        if shape not in SHAPES:
            sys.exit(f"there is no shape {shape}")
    cargo = os.environ.get("CARGO", "cargo")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BENCH_TARGET)}
    subprocess.run([cargo, "build", "--release", "--quiet", "-p", "load"], cwd=HERE, env=environment, check=True)
    if not Path(COLLABD).exists():
        sys.exit(f"there is no {COLLABD}: build it, or name another one in COLLABD_BIN")
    DATA.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    print(f"load average {os.getloadavg()[0]:.1f} before the run; medians of {options.repetitions}")
    shapes = options.shapes or SHAPES
    before = options.before and str(Path(options.before).resolve())
    waited = measure_waiting(max(1, options.repetitions), shapes, before)
    print_waiting(waited)
    print(f"\nload average {os.getloadavg()[0]:.1f} after it, {time.monotonic() - begun:.0f} s")
    if options.json:
        Path(options.json).write_text(json.dumps(waited, indent=1), encoding="utf-8")
    worst = [longest(servers["collabd"], pair) for servers in waited.values() for pair in (0, 1)]
    is_complete = all(servers["collabd"] for servers in waited.values())
    is_met = all(wait is None or wait <= BAR for wait in worst)
    has_ended = any(has_ended_others(servers["collabd"]) for servers in waited.values())
    return 0 if is_complete and is_met and not has_ended else 1


if __name__ == "__main__":
    sys.exit(main())
