"""What zotoolkit registers out of the box, as strings: nothing is imported before it is made."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from zotoolkit.problem_registry import register
from zotoolkit.registration import EntrySpec
from zotoolkit.solver_registry import register_solver, solvers

_RECIPES = {
    "SGD-CGE": ("sgd_cge", "SGD on coordinate-wise finite differences"),
    "SGD-RGE": ("sgd_rge", "SGD on random-direction finite differences"),
    "DeepZero": ("deep_zero", "DeepZero's Algorithm 1: keep ratios by ZO-GraSP, then sparse CGE with SGD"),
    "Adam-CGE": ("adam_cge", "Adam on coordinate-wise finite differences"),
    "Adam-RGE": ("adam_rge", "Adam on random-direction finite differences"),
    "SignSGD": ("sign_sgd", "sign of a random-direction estimate"),
    "SPSA": ("spsa", "simultaneous perturbation, Spall's gain sequences"),
}

_REFERENCES = {
    "SGD": ("reference_sgd", "SGD by back-propagation; no zeroth-order solver"),
    "Adam": ("reference_adam", "Adam by back-propagation; no zeroth-order solver"),
}

_SEARCHES = {
    "Random": ("random_search:RandomSearch", "independent draws, uniform in a box, normal elsewhere"),
    "Pattern": ("pattern_search:PatternSearch", "compass search with pattern moves, in batches"),
}

# Whole packages, listed when one of their solvers is asked for.
_ADAPTERS = {"Nevergrad": "zotoolkit.solvers.nevergrad_solver", "SciPy": "zotoolkit.solvers.scipy_solver"}

_FUNCTIONS = {
    "Sphere": "sum of squares",
    "Ellipsoid": "condition number 10^6",
    "Rosenbrock": "curved valley",
    "Rastrigin": "egg box, 10^d local minima",
    "Ackley": "flat plain with one funnel",
    "Griewank": "wide bowl with ripples",
    "Levy": "waves on a parabola",
    "Schwefel": "deceptive sines",
    "StyblinskiTang": "quartic, two valleys a coordinate",
}

_NETWORKS = {
    "DigitsMLP": ("digits_mlp", "multi-layer perceptron on scikit-learn's digits"),
    "DigitsCNN": ("digits_cnn", "small convolutional network on scikit-learn's digits"),
}


_RESNETS = (20, 32, 44, 56, 110)

_IMAGE_NETWORKS = (
    ("CNN", "train_cnn", "adjustable CNN of DeepZero", ("cifar10", "cifar100", "mnist", "fashion_mnist")),
    ("MLP", "train_mlp", "multi-layer perceptron", ("cifar10", "mnist", "fashion_mnist")),
    ("ViT", "train_vit", "small vision transformer", ("cifar10", "cifar100", "mnist")),
)

_DEFENSE_SOLVERS = {
    "DS-MSE": ("Untrained", "the denoiser as pre-trained: no query is spent on training"),
    "FO-DS": ("fo_ds", "Adam by back-propagation through a white-box classifier; no zeroth-order solver"),
    "FO-AE-DS": ("fo_ae_ds", "the same with encoder and decoder; no zeroth-order solver"),
    "ZO-DS": ("zo_ds", "Adam on queries at the denoiser's output, autograd below"),
    "ZO-AE-DS": ("zo_ae_ds", "Adam on queries at the latent, autograd below"),
}

_PDE_SOLVERS = {
    "SRC": ("src", "the corrector as initialised: the coarse simulator alone"),
    "NON": ("non", "Adam on single steps from reference states, autograd through the corrector alone"),
    "Detached": ("detached", "Adam on unrolled trajectories without gradients in time"),
    "Hybrid": ("hybrid", "Adam; queries for the simulator's Jacobian products, autograd for the corrector"),
    "ZO-SOL": ("zo_sol", "Adam on queries on the corrector's parameters, coordinate-wise or randomised"),
    "Sparse-ZO-SOL": ("sparse_zo_sol", "DeepZero's sparse coordinate-wise queries with Adam"),
    "FO-SOL": ("fo_sol", "Adam by back-propagation through simulator and corrector; no zeroth-order solver"),
}

_IMAGES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "mnist": "MNIST", "fashion_mnist": "FashionMNIST"}


def _register_functions() -> None:
    for name, description in _FUNCTIONS.items():
        entry = f"problems.functions:{name}"
        register(f"Functions/{name}-v0", entry, description=description)
        shifted = {"instance": 1}
        register(f"Functions/Shifted{name}-v0", entry, kwargs=shifted, description=f"{description}; minimum shifted")
        if name != "Sphere":  # a rotated sphere is a sphere
            register(
                f"Functions/Rotated{name}-v0",
                entry,
                kwargs={**shifted, "rotated": True},
                description=f"{description}; minimum shifted, axes rotated",
            )


def _register_networks() -> None:
    for name, (function, description) in _NETWORKS.items():
        register(f"DNN/{name}-v0", f"problems.dnn:{function}", description=description)
    register(
        "DNN/DigitsViT-v0",
        "problems.dnn:train_vit",
        kwargs={
            "dataset": "digits",
            "patch": 2,
            "width": 16,
            "depth": 2,
            "heads": 2,
            "batch_size": 32,
            "augment": False,
        },
        description="small vision transformer on scikit-learn's digits",
    )
    for depth in _RESNETS:
        for dataset in ("cifar10", "cifar100"):
            register(
                f"DNN/ResNet{depth}-{_IMAGES[dataset]}-v0",
                "problems.dnn:train_resnet",
                kwargs={"depth": depth, "dataset": dataset},
                description=f"residual network of depth {depth}; needs the data files",
            )
    for name, function, description, datasets in _IMAGE_NETWORKS:
        for dataset in datasets:
            register(
                f"DNN/{name}-{_IMAGES[dataset]}-v0",
                f"problems.dnn:{function}",
                kwargs={"dataset": dataset},
                description=f"{description}; needs the data files",
            )


def _register_defense() -> None:
    own = {"solver": "Defense/ZO-AE-DS-v0", "budget": 25_601}  # 800 steps of 2 * 16 queries, and one for the end
    described = "denoiser, encoder and fixed decoder in front of a classifier that can only be queried"
    register(
        "Defense/Digits-v0", "problems.defense:defend_digits", description=f"{described}; scikit-learn's digits", **own
    )
    register(
        "Defense/CIFAR10-v0",
        "problems.defense:defend_cifar10",
        description=f"{described}; needs the data files and a checkpoint",
        **own,
    )
    for name, (function, description) in _DEFENSE_SOLVERS.items():
        register_solver(f"Defense/{name}-v0", f"problems.defense.recipes:{function}", description=description)


def _register_pde() -> None:
    problems = (
        ("WakeFlow", "wake_flow", "the unsteady wake flow behind a disc, 64 x 32 cells towards 256 x 128", 300 * 279),
        ("KuramotoSivashinsky", "kuramoto_sivashinsky", "a coarse Kuramoto-Sivashinsky step that blows up", 2000 * 90),
        ("Burgers", "burgers", "a coarse step of the viscous Burgers equation", 2000 * 90),
        ("ForcedBurgers", "forced_burgers", "a coarse step of the forced Burgers equation on a square", 300 * 333),
        ("Smoke", "smoke", "a coarse step of smoke that rises in a box", 300 * 333),
    )
    for name, function, what, queries in problems:
        register(
            f"PDE/{name}-v0",
            f"problems.pde:correct_{function}",
            description=f"solver in the loop: corrector of {what}",
            solver="PDE/ZO-SOL-v0",
            budget=queries + 1,
        )
    for name, (function, description) in _PDE_SOLVERS.items():
        register_solver(f"PDE/{name}-v0", f"problems.pde.recipes:{function}", description=description)


def _register_solvers() -> None:
    for name, (function, description) in _RECIPES.items():
        register_solver(f"ZO/{name}-v0", f"zotoolkit.solvers.recipes:{function}", description=description)
    for name, (function, description) in _REFERENCES.items():
        register_solver(f"Reference/{name}-v0", f"zotoolkit.solvers.recipes:{function}", description=description)
    for name, (entry, description) in _SEARCHES.items():
        register_solver(f"Search/{name}-v0", f"zotoolkit.solvers.{entry}", description=description)
    for family, module in _ADAPTERS.items():
        solvers.register_family(family, lambda module=module: _adapted(module))


def _adapted(module: str) -> Iterator[EntrySpec]:
    yield from importlib.import_module(module).entries()


_register_functions()
_register_networks()
_register_defense()
_register_pde()
_register_solvers()
