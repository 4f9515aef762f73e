"""Stories: registering, running and reporting them, and the one bounded way to wait."""

import os
import random
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import record

DEADLINE = 20.0  # seconds; only a failing story ever waits this long

SEED = os.environ.get("SEED") or str(random.SystemRandom().randrange(1_000_000))

_stories = []

# Set by whoever has news (a reader thread, say), so that a wait looks again at once.
news = threading.Event()


def _wait_for_news():
    news.wait(0.02)
    news.clear()


# What a wait does between two looks at its condition. Programs with an event loop of their own put it here.
turn = _wait_for_news


class NotRun(Exception):
    """The story can't be told on this machine. Where continuous integration runs (CI is set) that is a failure."""


class Failed(Exception):
    """What a story was promised did not happen."""


def until(condition, what, seconds=DEADLINE, every=None):
    """Wait until `condition()` is true and return its value; `what` says in words what was waited for.

    A condition that asks the server something is looked at `every` so many seconds, others whenever there is news.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:g} s for {what() if callable(what) else what}")
        turn() if every is None else time.sleep(every)


def expect(true, what):
    if not true:
        raise Failed(what() if callable(what) else what)


def expect_equal(got, wanted, what):
    if got != wanted:
        raise Failed(f"{what}: got {got!r}, wanted {wanted!r}")


class Stage:
    """All that one story starts; closed in reverse order when it ends, whichever way it ends."""

    def __init__(self, title):
        self.rng = random.Random(f"{SEED}/{title}")
        self._owned = []

    def own(self, thing):
        """Close this at the end of the story."""
        self._owned.append(thing)
        return thing

    def folder(self):
        """A directory of the story's own, which goes when it ends."""
        directory = tempfile.TemporaryDirectory()
        directory.close = directory.cleanup
        return Path(self.own(directory).name)

    def inspect(self):
        """Let everything say what it saw go wrong: a fault counts even if the story did not look for it."""
        for thing in self._owned:
            if hasattr(thing, "inspect"):
                thing.inspect()

    def close(self):
        while self._owned:
            self._owned.pop().close()


def story(title, long=False):
    """Register a function taking a Stage as a story that can be told with this title.

    A long one is told only when asked for, by a word of its title or by LONG_STORIES=1.
    """

    def register(function):
        _stories.append((title, function, long))
        return function

    return register


def tell(title, function):
    """Tell one story; returns what went wrong, a NotRun where it can't be told here, or None."""
    stage = Stage(title)
    problem = None
    try:
        function(stage)
        stage.inspect()
    except Failed as failure:
        frames = traceback.extract_tb(failure.__traceback__)
        lines = [f.lineno for f in frames if f.filename == function.__code__.co_filename]
        problem = f"{f'line {lines[0]}' if lines else 'in the end'}: {failure}"
        # A fault seen earlier is often the cause of what was waited for in vain.
        try:
            stage.inspect()
        except Failed as fault:
            if str(fault) not in problem:
                problem += f"\n{fault}"
    except NotRun as reason:
        problem = f"not run: {reason}" if os.environ.get("CI") else reason
    except Exception:
        problem = traceback.format_exc()
    try:
        stage.close()
    except Exception:
        problem = f"{problem or ''}\nwhile cleaning up: {traceback.format_exc()}"
    return problem


def report(title, problem, started):
    took = time.monotonic() - started
    if isinstance(problem, NotRun):
        sys.stdout.write(f"– {title}: not run: {problem}\n")
        sys.stdout.flush()
        return None
    text = f"{'✗' if problem else '✓'} {title} ({took:.2f} s)\n"
    if problem:
        text += textwrap.indent(f"seed {SEED}, {problem}\n", "    ")
    # In one piece: others may be reporting, too.
    sys.stdout.write(text)
    sys.stdout.flush()
    return not problem


def main(at_once=1):
    """Run the stories whose title has one of the command line's words in it (all, without any).

    With `at_once` more than one they are told on so many threads, begun in the order they are written in.
    """
    words = sys.argv[1:]
    short_only = os.environ.get("LONG_STORIES") != "1"
    if words:
        chosen = [(title, function) for title, function, _ in _stories if any(word in title for word in words)]
    else:
        chosen = [(title, function) for title, function, long in _stories if not (long and short_only)]
    print(f"seed {SEED}", flush=True)

    def told(title, function):
        started = time.monotonic()
        return report(title, tell(title, function), started)

    if at_once == 1:
        good = [told(*one) for one in chosen]
    else:
        with ThreadPoolExecutor(at_once) as tellers:
            good = list(tellers.map(lambda one: told(*one), chosen))
    if record.ALONE and record.has_secrets():
        started = time.monotonic()
        fault, searched = record.search(whole=False)
        good.append(report(f"nothing confidential was written: {searched}", fault, started))
    good = [one for one in good if one is not None]
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed", flush=True)
    sys.exit(0 if chosen and all(good) else 1)
