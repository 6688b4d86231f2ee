"""A program for the tests: reads a case's files and does to its states what the parameters say.

Runs in a bare interpreter without NumPy, so that a process takes some milliseconds. The files are lines of text:
`state.txt` and `params.txt` hold one state a line, `after.txt` gets one a line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DOUBLE, EXIT, SIGNAL, HANG, SILENT, CUT, GARBAGE, SHAPE, INFINITE, CHATTER, CHILDREN, DAEMON, PIPE = range(13)


def act(what: int, lines: list[str]) -> None:
    if what == EXIT:
        print("the residual is 1e99", "giving up", sep="\n", file=sys.stderr)
        sys.exit(3)
    if what == SIGNAL:
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == HANG:
        time.sleep(600)
    if what == SILENT:
        sys.exit(0)
    if what == CUT:
        write(["".join(lines)[:5]])
    if what == GARBAGE:
        Path("after.txt").write_bytes(bytes(range(256)))
        sys.exit(0)
    if what == SHAPE:
        write(lines * 2)
    if what == INFINITE:
        write(["[1.0, NaN, Infinity]"] * len(lines))
    if what == CHATTER:
        print("x" * (1 << 22))
    if what in (CHILDREN, DAEMON):
        # A child that hangs and a grandchild that does; a daemon makes a session of its own besides.
        code = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
        subprocess.Popen([sys.executable, "-I", "-S", "-c", code], start_new_session=what == DAEMON)
        if os.environ.get("STAY"):
            time.sleep(600)
    if what == PIPE:
        os.mkfifo("after.txt")
        sys.exit(0)


def write(lines: list[str]) -> None:
    Path("after.txt").write_text("\n".join(lines))
    sys.exit(0)


def main() -> None:
    lines = Path("state.txt").read_text().splitlines()
    actions = [int(json.loads(line)[0]) for line in Path("params.txt").read_text().splitlines()]
    time.sleep(float(os.environ.get("PAUSE", "0")))
    if log := os.environ.get("LOG"):
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()} {len(lines)}\n")
    act(max(actions), lines)
    write([json.dumps([2 * number for number in json.loads(line)]) for line in lines])


if __name__ == "__main__":
    main()
