"""Counts on disk, kept image by image, so that a certification that is killed goes on where it was.

A folder holds

    certification.json   what decides the counts: settings, kind of noise, the classifier's answers to a probe; written
                         first, at once and whole
    counts.jsonl         one line of JSON an image, added when the image is finished; nothing is ever changed

A line is written by one system call after the image's last query, so a kill leaves whole lines and at most one torn
one at the end, which is cut off. Every line has the fingerprint of its image: the same folder can take more images
later, and never mistakes one image for another.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from zotoolkit.certification import noise
from zotoolkit.certification.certificate import Certification
from zotoolkit.certification.counts import ImageCounts
from zotoolkit.certification.settings import SmoothingSettings
from zotoolkit.errors import CheckpointDamaged, CheckpointMismatch, CheckpointMissing, ResultsUnwritable
from zotoolkit.files import read_json, write_json

HEADER_FILE = "certification.json"
COUNTS_FILE = "counts.jsonl"
_FORMAT = 1


class CountStore:
    """A folder of counts that grows.

    Args:
        folder: Made if it is not there.
        settings: What the counts are made with.
        probe: Fingerprint of the probe inputs and the classifier's labels on them; None if it is not probed.

    Attributes:
        images: The counts that are there, by key.

    Raises:
        CheckpointMismatch: If the folder's counts were made otherwise, or by a classifier that answers otherwise.
        CheckpointDamaged: If its files cannot be read.
        ResultsUnwritable: If it cannot be written.
    """

    def __init__(self, folder: Path, settings: SmoothingSettings, probe: dict[str, Any] | None = None) -> None:
        self._path = folder / COUNTS_FILE
        header = {"format": _FORMAT, "noise": noise.VERSION, **asdict(settings), "probe": probe}
        if (folder / HEADER_FILE).exists():
            _check_same(folder, read_json(folder / HEADER_FILE, "certification"), header)
        else:
            if self._path.exists():
                raise CheckpointDamaged(f"{folder} has {COUNTS_FILE} but no {HEADER_FILE}; choose another folder.")
            write_json(folder / HEADER_FILE, header)
        self.images = _read_counts(self._path, settings)
        self._cut_torn_line()

    def add(self, counts: ImageCounts) -> None:
        """Keep an image's counts; they are there when this returns, even if the process is killed.

        Raises:
            ResultsUnwritable: If they cannot be written.
        """
        line = (json.dumps(counts.as_dict(), separators=(",", ":")) + "\n").encode()
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(file).st_size
                if os.write(file, line) != len(line):  # the disk is full
                    os.ftruncate(file, size)
                    raise OSError("the disk took only a part of a line")
            finally:
                os.close(file)
        except OSError as error:
            raise ResultsUnwritable(
                f"cannot write {self._path}: {error.strerror or error}. Free space and run it again; the images that "
                "are finished are kept."
            ) from error
        self.images[counts.index] = counts

    def _cut_torn_line(self) -> None:
        with contextlib.suppress(FileNotFoundError), self._path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)


def load_certification(folder: str | os.PathLike[str]) -> Certification:
    """Read what a certification has kept in a folder; one that is not finished has fewer images.

    Args:
        folder: The `store` of `certify`, or the output folder of `zotoolkit certify`.

    Raises:
        CheckpointMissing: If there is no certification, or not one finished image.
        CheckpointDamaged: If its files cannot be read.
    """
    folder = Path(folder)
    header = read_json(folder / HEADER_FILE, "certification")
    try:
        settings = SmoothingSettings(**{field.name: header[field.name] for field in fields(SmoothingSettings)})
    except (KeyError, ValueError) as error:
        raise CheckpointDamaged(f"{folder / HEADER_FILE} is damaged ({error}); restore it from a copy.") from error
    images = _read_counts(folder / COUNTS_FILE, settings)
    if not images:
        raise CheckpointMissing(f"{folder} holds no finished image yet.")
    counts = [images[key] for key in sorted(images)]
    if any(image.label is None for image in counts):
        counts = [replace(image, label=None) for image in counts]
    return Certification(settings, tuple(counts), settings.alpha)


def _check_same(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise CheckpointMismatch if anything that decides the counts differs."""
    for name, value in wanted.items():
        if name != "probe" and found.get(name) != value:
            raise CheckpointMismatch(
                f"{folder} holds counts with {name}={found.get(name)}, and {name}={value} is asked for; choose another "
                "folder."
            )
    before, now = found.get("probe"), wanted["probe"]
    if before is None or now is None:
        return
    if before["images"] != now["images"]:
        raise CheckpointMismatch(f"{folder} was probed with other inputs; choose another folder or the same probe.")
    pairs = list(zip(before["labels"], now["labels"], strict=True))
    if changed := [row for row, (a, b) in enumerate(pairs) if a != b and a >= 0 and b >= 0]:
        raise CheckpointMismatch(
            f"{folder} holds counts of another classifier: {len(changed)} of {len(pairs)} probe inputs are answered "
            f"otherwise, the first of them input {changed[0]}; choose another folder."
        )


def _read_counts(path: Path, settings: SmoothingSettings) -> dict[int, ImageCounts]:
    """Return the counts in whole lines by key.

    Raises:
        CheckpointDamaged: If a whole line cannot be read or does not fit the settings.
    """
    found: dict[int, ImageCounts] = {}
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return found
    except OSError as error:
        raise CheckpointDamaged(f"cannot read {path}: {error.strerror or error}.") from error
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            counts = ImageCounts.from_dict(json.loads(line))
            _check_counts(counts, settings)
        except ValueError as error:
            raise CheckpointDamaged(
                f"{path} is damaged in line {number} ({error}); restore it from a copy or remove the line."
            ) from error
        before = found.get(counts.index)
        if before is not None and replace(before, label=counts.label) != counts:  # a true class may come later
            raise CheckpointDamaged(f"{path} has two different counts of image {counts.index}; choose another folder.")
        found[counts.index] = counts
    return found


def _check_counts(counts: ImageCounts, settings: SmoothingSettings) -> None:
    """Raise ValueError if the settings cannot have made these counts."""
    if counts.selection.asked != settings.n0:
        raise ValueError(f"{counts.selection.asked} selection samples instead of n0={settings.n0}")
    asked = counts.estimation.asked
    early = settings.early_abstention or counts.selected < 0
    if asked > settings.n or (asked < settings.n and not early):
        raise ValueError(f"{asked} estimation samples instead of n={settings.n}")
