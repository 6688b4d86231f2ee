"""Certificates of a defended digits CNN put to the test: no attack of ART within the radius may change a prediction.

The black box is a CNN of 1,898 parameters that was never shown noise. The denoiser, encoder and decoder before it are
trained as `zotoolkit run Defense/Digits-v0` does (ZO-AE-DS, sigma = 0.5, 800 steps, answers only). The whole of it is
certified on 120 test images with n = 1,000, alpha = 0.001, and every certified image is attacked within 0.999 of its
radius: by PGD on the smoothed composite, back-propagated through the black box as well, which the defense itself never
could (mean softmax over 50 noise draws, 20 steps), and by hop-skip-jump on its votes. The verdict is a fresh vote of
2,000 samples at the point found.

Each row counts changed predictions; the goal is none. The control is the same PGD at twice the radius.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from certificates_attacked import attack_rows, beyond
from harness import Options, Report
from torch import nn

import zotoolkit
from problems.defense import defend_digits
from problems.defense.classifiers import small_cnn
from zotoolkit.certification import certify
from zotoolkit.certification.attacks import AttackSettings, attack

IMAGES = 120
SIGMA = 0.5
STEPS = 800
SOLVER = "Defense/ZO-AE-DS-v0"
SMALL = {"depth": 2, "width": 2, "latent": 2, "autoencoder_width": 2}


def run(options: Options) -> Report:
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002 - hop-skip-jump draws from NumPy's global generator
    images, n, samples, steps = (12, 200, 200, 2) if options.quick else (IMAGES, 1_000, 2_000, STEPS)
    objective = defend_digits(
        "cnn", sigma=SIGMA, certified_images=1, n=100, baselines=False, device=options.device, **_sizes(options.quick)
    )
    solver = zotoolkit.make_solver(SOLVER, iterations=steps)
    result = zotoolkit.minimize(objective, solver, budget=32 * steps + 1, progress=False)
    box = small_cnn(objective.images).model.to(options.device)
    composite = nn.Sequential(objective.defended(result.x), box).eval().requires_grad_(False)
    chosen = objective.images.subset(test=images)
    x, y = chosen.test.to(options.device), chosen.test_labels
    certification = certify(composite, x, y, sigma=SIGMA, n=n, chunk=512)
    settings = AttackSettings(steps=20, draws=50, iterations=5, evaluations=30)
    if options.quick:
        settings = AttackSettings(steps=5, draws=20, iterations=1, evaluations=5)
    report = attack(composite, certification, x, settings=settings, samples=samples)
    control = attack(composite, certification, x, attacks=("pgd",), settings=beyond(settings), samples=samples)
    facts = {
        "network": "digits CNN, 1,898 parameters, trained without noise, behind denoiser, encoder and decoder",
        "defense": {"solver": SOLVER, "steps": steps, "queries": result.queries},
        "sigma": SIGMA,
        "n": n,
        "alpha": certification.alpha,
        "images": len(certification),
        "certified": int((~certification.abstained).sum()),
        "certified accuracy at 0.25": float(certification.certified_accuracy(0.25)),
        "average certified radius": certification.average_certified_radius,
        "samples of the verdict": samples,
        "attacks": dataclasses.asdict(settings),
        "outcomes": report.summary(),
        "control": control.summary(),
    }
    return Report(attack_rows(report, control, certification), facts)


def _sizes(quick: bool) -> dict[str, Any]:
    return SMALL if quick else {}
