"""Keys and the file they are in, made and revoked by `collabd key` as an operator does it."""

import itertools
import os
import secrets
import subprocess

import record
import story
from server import BINARY, surroundings

_numbers = itertools.count(1)
_hosts = itertools.count(2)


def address():
    """An address of this machine that nobody has come from yet. Refused keys are counted by address."""
    number = next(_hosts)
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def wrong_key():
    """Something that could be a key."""
    return record.key(f"wrong{secrets.token_hex(20)}")


def run(*words):
    """Run `collabd` with these words to its end; returns (exit code, stdout, stderr)."""
    ended = subprocess.run(
        [BINARY, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=story.DEADLINE,
        env=surroundings(),
    )
    return ended.returncode, ended.stdout, ended.stderr


class KeyRing:
    """A key file in a folder of its own, and the keys that were put into it."""

    def __init__(self, stage, name="keys.json"):
        self.path = stage.folder() / name

    def new(self, level="write", name=None, **options):
        """Make a key and return it; options are those of `collabd key new` (expires, sessions)."""
        name = name or f"{level} {next(_numbers)}"
        words = [word for option, value in options.items() for word in (f"--{option}", value)]
        code, out, err = run("key", "new", "--name", name, "--level", level, *words, "--file", self.path)
        story.expect_equal(code, 0, f"the exit code of key new {options}, which says {err!r}")
        alone = [line for line in out.splitlines() if line and not any(c.isspace() for c in line)]
        story.expect(len(alone) == 1, lambda: f"one key alone on its line, in {len(out.splitlines())} lines")
        return record.key(alone[0])

    def list(self):
        code, out, err = run("key", "list", "--file", self.path)
        story.expect_equal(code, 0, f"the exit code of key list, which says {err!r}")
        record.heard(out)
        return out

    def revoke(self, name):
        code, out, err = run("key", "revoke", name, "--file", self.path)
        story.expect_equal(code, 0, f"the exit code of key revoke, which says {err!r}")
        record.heard(out + err)

    def replace_with(self, other):
        """Put another ring's file in this one's place in one step, as editors and deployments do."""
        os.replace(other.path, self.path)

    def overwrite(self, content):
        """Write into the file itself, in place."""
        self.path.write_bytes(content)
        self.path.chmod(0o600)
