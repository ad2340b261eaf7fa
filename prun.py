#!/usr/bin/env python3
"""Run a script as a job of workers and servers; `prun.py --help` tells how."""

import sys

try:
    from paracel.cli import prun
except ModuleNotFoundError as error:
    if not error.name or error.name.partition(".")[0] == "paracel":
        raise
    sys.exit(
        f"prun: error: {sys.executable} has no module {error.name!r}, which paracel needs; "
        "install it with `pip install -e .`, or run .venv/bin/prun"
    )

if __name__ == "__main__":
    prun()
