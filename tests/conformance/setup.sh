#!/usr/bin/env bash
# Installs the Autobahn test suite (wstest) for CPython 2.7 into .deps/wstest, touching nothing outside .deps/.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
deps=$top/.deps
suite=25.10.1
mkdir -p "$deps"

works() { "$deps/wstest/bin/wstest" --autobahnversion 2>/dev/null | grep -q "AutobahnTestSuite $suite"; }

if ! works; then
    # The suite is Python 2 to this day.
    python=
    for candidate in ${PYTHON27:-} python2.7 "$HOME"/.pyenv/versions/2.7.*/bin/python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "the Autobahn test suite needs CPython 2.7: pyenv install 2.7.18, or set PYTHON27 to an interpreter" >&2
        # Elsewhere its cases are not run.
        [ -z "${CI:-}" ] && exit 0
        exit 1
    fi
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_PYTHON_VERSION_WARNING=1 PYTHONWARNINGS=ignore
    rm -rf "$deps/wstest" "$deps/virtualenv27"
    # Python 2.7 has no venv of its own; this is the last virtualenv that runs on it, kept out of the interpreter.
    quietly() { "$@" 2>&1 | { grep -v DEPRECATION || true; }; }
    quietly "$python" -m pip install --quiet --target "$deps/virtualenv27" virtualenv==20.15.1
    VIRTUALENV_OVERRIDE_APP_DATA=$deps/virtualenv27/app-data PYTHONPATH=$deps/virtualenv27 \
        "$python" -m virtualenv --quiet "$deps/wstest"
    # First what the suite's own requirements are built with; without the pins newer ones without 2.7 are tried.
    quietly "$deps/wstest/bin/pip" install --quiet incremental==16.10.1 cryptography==3.3.2
    quietly "$deps/wstest/bin/pip" install --quiet --no-build-isolation "autobahntestsuite==$suite"
    rm -rf "$deps/virtualenv27"
    works || { echo "wstest does not start" >&2; "$deps/wstest/bin/wstest" --autobahnversion; exit 1; }
fi
echo "conformance: wstest of the Autobahn test suite $suite in $deps/wstest"
