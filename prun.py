#!/usr/bin/env python3
"""Run a script as a job of workers and servers; `prun.py --help` tells how."""

from paracel.cli import prun

if __name__ == "__main__":
    prun()
