#!/usr/bin/env python3
"""Tries each package of `make dist` as its users have it. Ends with `N passed, M failed`."""

# First: it says where the modules of the other folders are.
import packages  # noqa: F401
import story

import try_tarball
import try_deb
import try_wheel
import try_windows
import try_oci

if __name__ == "__main__":
    try:
        story.main()
    finally:
        try_windows.end()
