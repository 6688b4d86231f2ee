"""The files of a certification: table, rows, summary and curve, in the folder that has its counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zotoolkit.certification.certificate import Certification
from zotoolkit.certification.plots import draw_curves
from zotoolkit.certification.report import csv_rows, csv_text, image_rows, summary, table
from zotoolkit.files import write_bytes, write_json

IMAGES_FILE = "images.csv"
SUMMARY_FILE = "summary.json"
TABLE_FILE = "table.csv"
TEXT_FILE = "table.txt"
CURVE_FILE = "curve.png"


def write_certification(folder: Path, certification: Certification, radii: Sequence[float] | None = None) -> list[Path]:
    """Write each image's certificate and the summary, and return the paths.

    Args:
        folder: Made if it is not there.
        certification: What to write.
        radii: Of the summary; by default round ones up to what can be certified.

    Raises:
        ResultsUnwritable: If they cannot be written.
    """
    write_bytes(folder / IMAGES_FILE, csv_text(image_rows(certification)).encode())
    write_json(folder / SUMMARY_FILE, summary(certification, radii))
    return [folder / IMAGES_FILE, folder / SUMMARY_FILE]


def write_comparison(
    folder: Path, certifications: Mapping[str, Certification], radii: Sequence[float] | None = None
) -> list[Path]:
    """Write certifications side by side, as text, CSV and picture, and return the paths.

    Args:
        folder: Made if it is not there.
        certifications: By name, of the same images with true classes.
        radii: Columns of the table; by default round ones up to what the first can certify.

    Raises:
        InvalidLabels: If true classes are not known, or not the same in all.
        MissingExtra: If matplotlib is not installed; the tables are written then.
        ResultsUnwritable: If they cannot be written.
    """
    write_bytes(folder / TEXT_FILE, (table(certifications, radii) + "\n").encode())
    write_bytes(folder / TABLE_FILE, csv_text(csv_rows(certifications, radii)).encode())
    write_bytes(folder / CURVE_FILE, draw_curves(certifications).files["png"])
    return [folder / TEXT_FILE, folder / TABLE_FILE, folder / CURVE_FILE]
