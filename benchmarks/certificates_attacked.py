"""Certificates of a digits CNN put to the test: no attack of ART within the radius may change a smoothed prediction.

A CNN of 1,898 parameters, trained in seconds with noise of sigma = 0.5, is certified on 120 test images with
n = 10,000, alpha = 0.001. Every certified image is attacked within 0.999 of its radius by PGD on the smoothed
classifier (mean softmax over 100 noise draws, 30 steps) and by hop-skip-jump on its votes. The verdict is a fresh vote
of 10,000 samples at the point found.

Each row counts changed predictions; the goal is none. As a control the same PGD may go to twice the radius, where most
predictions fall: an attack that finds nothing there would prove nothing within.
"""

from __future__ import annotations

import numpy as np
import torch
from certify import digits_cnn
from harness import Options, Report, Row
from torch import Tensor, nn

from problems.dnn.data.sklearn_digits import digits
from zotoolkit.certification import Certification, certify
from zotoolkit.certification.attacks import AttackReport, AttackSettings, attack
from zotoolkit.seeding import torch_generator

IMAGES = 120
SIGMA = 0.5
BEYOND = 2.0


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002 - hop-skip-jump draws from NumPy's global generator
    data = digits()
    images, n = (12, 500) if options.quick else (IMAGES, 10_000)
    if data.test_inputs is None or data.test_targets is None:
        raise RuntimeError("digits have a test set")
    x, y = data.test_inputs[:images].to(options.device), data.test_targets[:images]
    network = trained(data.train_inputs.to(options.device), data.train_targets.to(options.device), options.quick)
    certification = certify(network, x, y, sigma=SIGMA, n=n, chunk=512)
    settings = AttackSettings(steps=5, draws=20, iterations=1, evaluations=5) if options.quick else AttackSettings()
    report = attack(network, certification, x, settings=settings)
    control = attack(network, certification, x, attacks=("pgd",), settings=beyond(settings))
    return Report(attack_rows(report, control, certification), _settings(certification, settings, report, control))


def trained(inputs: Tensor, targets: Tensor, quick: bool = False) -> nn.Module:
    """Return the digits CNN, trained with noise, in evaluation mode."""
    generator = torch_generator(0)
    network, _ = digits_cnn()
    with torch.no_grad():  # the layers' own initialisation draws from the global generator
        for tensor in network.parameters():
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 16
            tensor.copy_((2 * torch.rand(tensor.shape, generator=generator) - 1) / fan_in**0.5)
    network = network.to(inputs.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(3 if quick else 40):
        for rows in torch.randperm(len(inputs), generator=generator).split(128):
            noise = SIGMA * torch.randn(inputs[rows].shape, generator=generator)
            loss = nn.functional.cross_entropy(network(inputs[rows] + noise.to(inputs)), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def beyond(settings: AttackSettings) -> AttackSettings:
    """Return the settings of the control, which may leave the ball."""
    return AttackSettings(BEYOND, settings.steps, settings.draws, settings.iterations, settings.evaluations)


def attack_rows(report: AttackReport, control: AttackReport, certification: Certification) -> list[Row]:
    """Return the counts: a goal of one half of an image, since a ratio of nothing to nothing is no number."""
    rows = []
    for name in ("pgd", "hop-skip-jump"):
        mine = [outcome for outcome in report.outcomes if outcome.attack == name]
        changed = float(sum(outcome.changed for outcome in mine))
        refuted = float(sum(outcome.refuted(certification.alpha) for outcome in mine))
        count = [float(len(mine))]
        rows.append(Row(f"{name}: predictions changed", count, [changed], "of images", "value", 0.5))
        rows.append(Row(f"{name}: certificates refuted", count, [refuted], "of images", "value", 0.5))
    label = f"control, pgd at {BEYOND:g} times the radius: changed"
    rows.append(Row(label, [float(len(control.outcomes))], [float(control.changed)], "of images", "value"))
    return rows


def _settings(
    certification: Certification, settings: AttackSettings, report: AttackReport, control: AttackReport
) -> dict[str, object]:
    return {
        "network": "digits CNN, 1,898 parameters, trained with noise",
        "sigma": SIGMA,
        "n": certification.n,
        "alpha": certification.alpha,
        "images": len(certification),
        "certified": int((~certification.abstained).sum()),
        "certified accuracy at 0.25": float(certification.certified_accuracy(0.25)),
        "average certified radius": certification.average_certified_radius,
        "fraction of the radius": settings.fraction,
        "pgd": {"steps": settings.steps, "noise draws": settings.draws},
        "hop-skip-jump": {
            "iterations": settings.iterations,
            "first gradient": settings.evaluations,
            "votes": settings.draws,
        },
        "outcomes": report.summary(),
        "control": control.summary(),
    }
