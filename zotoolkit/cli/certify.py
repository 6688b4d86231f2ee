"""`zotoolkit certify`: certificates of a classifier's smoothed predictions."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zotoolkit.certification.certificate import Certification
from zotoolkit.certification.files import load_classifier, load_images
from zotoolkit.certification.output import write_certification, write_comparison
from zotoolkit.certification.report import table
from zotoolkit.certification.smoothing import certify
from zotoolkit.certification.store import load_certification
from zotoolkit.checks import check_count, check_device
from zotoolkit.cli.common import INTERRUPTED, add_command, add_imports, complain, whole_number
from zotoolkit.compare.imports import check_imports
from zotoolkit.errors import InvalidLabels, InvalidSetting, MissingExtra, RadiusWarning
from zotoolkit.files import check_writable

_PROBE = 16
_EXAMPLES = """examples:
  zotoolkit certify my_model.py:classifier --images test.npz --sigma 0.5 --out certified
  zotoolkit certify package.models:make_network --images x.npy --labels y.npy --sigma 0.25 --n 1e5 \\
      --images-at-most 500 --radii 0.25 0.5 0.75 --against undefended=results/undefended --out results/defended

The same command again goes on with what was interrupted: finished images are kept in the folder."""


def add_parser(commands: Any) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "certify", execute, "certify a classifier by randomised smoothing", epilog=_EXAMPLES)
    parser.add_argument(
        "classifier",
        metavar="MODULE:NAME",
        help="a callable, torch module, scikit-learn classifier, object with a method predict, or a function without "
        "arguments that makes one; FILE.py:NAME too",
    )
    parser.add_argument(
        "--images", required=True, type=Path, metavar="FILE", help=".npy of images, or .npz with x and maybe y"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help=".npy of true classes")
    parser.add_argument("--images-at-most", type=whole_number, metavar="N", help="take the first N images only")
    parser.add_argument("--sigma", required=True, type=float, metavar="S", help="of the noise, in units of the images")
    parser.add_argument("--n0", type=whole_number, default=100, metavar="N", help="samples that choose the class (100)")
    parser.add_argument("--n", type=whole_number, default=10_000, metavar="N", help="samples that certify it (10,000)")
    parser.add_argument(
        "--alpha", type=float, default=0.001, metavar="A", help="chance at most that a certificate is wrong (0.001)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the noise (0)")
    parser.add_argument("--classes", type=whole_number, metavar="N", help="number of classes, to check answers by")
    parser.add_argument("--chunk", type=whole_number, default=128, metavar="N", help="images sent together (128)")
    parser.add_argument("--radii", nargs="+", type=float, metavar="R", help="columns of the table")
    parser.add_argument(
        "--no-early-abstention", action="store_true", help="ask all n samples even where abstention is decided"
    )
    parser.add_argument(
        "--futility",
        type=float,
        metavar="B",
        help="also give up on images unlikely to be certified; chance at most to lose one that could be",
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="show the certification in a folder beside this one, such as a baseline; may be repeated",
    )
    parser.add_argument("--name", default="this classifier", help="of this one, in table and picture")
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for counts, tables and curve")
    parser.add_argument("--no-progress", action="store_true", help="no progress on standard error")
    add_imports(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Certify what is not certified yet, then write and print the result."""
    others = dict(_other(text) for text in arguments.against)
    if arguments.name in others:
        raise InvalidSetting(f"--against has a certification named {arguments.name!r} too; choose another --name.")
    device = check_device(arguments.device)
    images, labels = load_images(arguments.images, arguments.labels)
    most = len(images) if arguments.images_at_most is None else check_count(arguments.images_at_most, "images-at-most")
    x = torch.from_numpy(images[:most]).to(device)
    check_imports(arguments.imports)
    classifier = load_classifier(arguments.classifier)
    if isinstance(classifier, nn.Module):
        classifier = classifier.to(device).eval()
    check_writable(arguments.out)
    try:
        found = certify(
            classifier,
            x,
            None if labels is None else labels[:most],
            sigma=arguments.sigma,
            n0=arguments.n0,
            n=arguments.n,
            alpha=arguments.alpha,
            seed=arguments.seed,
            classes=arguments.classes,
            chunk=arguments.chunk,
            early_abstention=not arguments.no_early_abstention,
            futility=arguments.futility,
            radii=arguments.radii or (),
            probe=x[:_PROBE],
            store=arguments.out,
            progress=not arguments.no_progress,
        )
    except KeyboardInterrupt:
        complain(f"interrupted; finished images are kept in {arguments.out}. The same command goes on.")
        return INTERRUPTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RadiusWarning)  # said before anything was spent
        publish(arguments.out, arguments.name, found, others, arguments.radii)
    return 0


def publish(
    folder: Path,
    name: str,
    certification: Certification,
    others: dict[str, Certification],
    radii: list[float] | None = None,
) -> None:
    """Write the files and print the table, others first; without true classes there is no accuracy to show."""
    write_certification(folder, certification, radii)
    if certification.y is None:
        print(repr(certification))
        complain("no accuracies: the images have no true classes; give --labels, or an .npz file with y.")
        if others:
            raise InvalidLabels("--against compares accuracies, which need true classes; give --labels.")
    else:
        everything = {**others, name: certification}
        print(table(everything, radii))
        try:
            write_comparison(folder, everything, radii)
        except MissingExtra as error:
            complain(f"no picture: {error}")
    print(f"saved in {folder}")


def _other(text: str) -> tuple[str, Certification]:
    name, equals, folder = text.partition("=")
    if not equals or not name or not folder:
        raise InvalidSetting(f"--against reads NAME=DIR, such as undefended=results/undefended, got {text!r}.")
    return name, load_certification(folder)
