#!/usr/bin/env python3
"""What the tests need of the machine: looked at first, and everything that is missing is named at once.

Where continuous integration runs (CI is set) everything is needed, and as root `setup.sh` installs it. Elsewhere nothing is
installed into the system: without what is required no test runs, and without the rest some stories are not run.
"""

import glob
import os
import re
import shutil
import subprocess
import sys

# Some people's PATH leaves out where servers are.
PATH = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
IN_CI = bool(os.environ.get("CI"))


def found(program):
    return shutil.which(program, path=PATH) is not None


def version(*command):
    """The first number that a program says, like (20, 19); () where it can't be asked."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    number = re.search(r"(\d+)\.(\d+)", said)
    return tuple(map(int, number.groups())) if number else ()


def has_python27():
    candidates = [os.environ.get("PYTHON27") or "", "python2.7", *glob.glob(os.path.expanduser("~/.pyenv/versions/2.7.*/bin/python"))]
    return any(version(one, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") == (2, 7) for one in candidates if one)


def has_venv():
    # Where continuous integration runs, setup.sh installs it.
    return IN_CI or subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


# What is needed, how it is recognised, and in which package Debian (and Ubuntu), Fedora and Homebrew have it. `-`: not there.
REQUIRED = [
    ("Rust (cargo), from https://rustup.rs", lambda: found("cargo"), "- - -"),
    ("a C compiler", lambda: found("cc"), "gcc gcc -"),
    ("Python 3.9 or newer", lambda: sys.version_info >= (3, 9), "python3 python3 python"),
    ("Python's venv", has_venv, "python3-venv python3 python"),
    ("Node 18 or newer", lambda: version("node", "--version") >= (18, 0), "nodejs nodejs node"),
    ("npm", lambda: found("npm"), "npm nodejs-npm node"),
]
OPTIONAL = {
    "nginx": (lambda: found("nginx"), "nginx nginx nginx"),
    "caddy": (lambda: found("caddy"), "caddy caddy caddy"),
    "openssl": (lambda: found("openssl"), "openssl openssl openssl"),
    "haproxy": (lambda: found("haproxy"), "haproxy haproxy haproxy"),
    "logrotate": (lambda: found("logrotate"), "logrotate logrotate logrotate"),
    "ip": (lambda: found("ip"), "iproute2 iproute -"),
    "promtool": (lambda: found("promtool") and found("prometheus"), "prometheus golang-github-prometheus prometheus"),
    "chromium": (lambda: found("chromium"), "chromium chromium chromium"),
    "firefox": (lambda: found("firefox"), "firefox-esr firefox firefox"),
    "CPython 2.7": (has_python27, "- - -"),
}
SYSTEMS = ["apt-get", "dnf", "brew"]
COMMANDS = ["sudo apt-get install", "sudo dnf install", "brew install"]


def lacks(*programs):
    """Those of the optional programs that this machine doesn't have."""
    return [program for program in programs if not OPTIONAL[program][0]()]


def command_for(packages):
    """How these are installed here: a line, or nothing where no package manager is known."""
    for system, (name, command) in enumerate(zip(SYSTEMS, COMMANDS)):
        if found(name):
            wanted = sorted({package.split()[system] for package in packages} - {"-"})
            return f"    {command} {' '.join(wanted)}" if wanted else ""
    return ""


def main():
    required = [(what, packages) for what, is_there, packages in REQUIRED if not is_there()]
    optional = [(what, OPTIONAL[what][1]) for what in lacks(*OPTIONAL)]
    if required:
        print("The tests need, and this machine doesn't have:", *(f"    {what}" for what, _ in required), sep="\n")
    if optional and not IN_CI:
        print("Some stories are not run, for want of:", *(f"    {what}" for what, _ in optional), sep="\n")
    missing = [packages for _, packages in required + ([] if IN_CI else optional)]
    command = command_for(missing) if missing else ""
    if command:
        print("To install what has a package:", command, sep="\n")
    if any(what == "CPython 2.7" for what, _ in optional) and not IN_CI:
        print("The Autobahn test suite runs on CPython 2.7 alone:", "    pyenv install 2.7.18", sep="\n")
    sys.stdout.flush()
    return 1 if required else 0


if __name__ == "__main__":
    sys.exit(main())
