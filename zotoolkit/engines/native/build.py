"""Compiles a file of C++ for this processor, once, and loads it.

The library lies in the user's cache folder under a name that holds a hash of the source, the compiler and the
processor, so that a changed one is compiled anew and machines that share a home folder do not share machine code.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from zotoolkit.cache_folder import cache_folder

_FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
_SECONDS = 300
_PASSES = ("zotoolkit.engines.native", "passes")
_log = logging.getLogger("zotoolkit")


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled passes; None, and one line in the log, where they cannot be had."""
    return load(*_PASSES, "element-wise passes run unfused")


def load(package: str, stem: str, otherwise: str) -> ctypes.CDLL | None:
    """Return a compiled library; None, and a line in the log, where it cannot be had.

    Args:
        package: That holds the source.
        stem: The source's name without .cpp.
        otherwise: What happens without it, for the log.
    """
    try:
        return ctypes.CDLL(str(_built(package, stem)))
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        _log.warning("%s, for they could not be compiled: %s", otherwise, error)
        return None


def _built(package: str = _PASSES[0], stem: str = _PASSES[1]) -> Path:
    """Return the library's file, compiled if it is not there.

    Raises:
        RuntimeError: If there is no compiler, or it fails.
    """
    compiler = _compiler()
    source = resources.files(package).joinpath(f"{stem}.cpp").read_bytes()
    version = _call([compiler, "--version"])
    name = hashlib.sha256(b"\0".join((source, version, repr(_FLAGS).encode(), _processor()))).hexdigest()[:24]
    target = cache_folder("native") / f"{stem}-{name}.so"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        code, made = Path(folder) / f"{stem}.cpp", Path(folder) / f"{stem}.so"
        code.write_bytes(source)
        try:
            _call([compiler, *_FLAGS, "-fopenmp", str(code), "-o", str(made)])
        except RuntimeError:  # a compiler without OpenMP: one thread
            _call([compiler, *_FLAGS, "-Wno-unknown-pragmas", str(code), "-o", str(made)])
        made.replace(target)
    return target


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise RuntimeError("there is no C++ compiler (g++ or clang++) on the PATH; CXX may name one.")


def _processor() -> bytes:
    """Return what tells processors with different instructions apart."""
    facts = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts += sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return "\n".join(facts).encode()


def _call(command: list[str]) -> bytes:
    """Run a command and return what it printed.

    Raises:
        RuntimeError: If it fails; with the first line that it complains about.
    """
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise RuntimeError(f"{command[0]} failed: {complaint[0]}")
    return done.stdout
