"""Pictures: their sizes, what makes them differ, what is said of bad input. How they look was looked at."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from problems.pde.measures import energy_spectrum
from problems.pde.pictures import (
    animate_vorticity,
    draw_errors,
    draw_space_time,
    draw_spectra,
    draw_vorticity,
    write_picture,
)
from problems.pde.simulators import rollout
from problems.pde.simulators.wake import WakeFlow
from zotoolkit.errors import InvalidSetting, InvalidState, MissingExtra, ResultsUnwritable

pytest.importorskip("matplotlib")
FLOW = WakeFlow(16)


def wake(frames: int = 8, poke: float = 4.0) -> Tensor:
    start = FLOW.initial_state(poke=poke)
    return rollout(FLOW, start, torch.tensor([[1e6]]), frames - 1)[:, 0]


def gone(path: Tensor, frame: int) -> Tensor:
    path = path.clone()
    path[frame:] = torch.nan
    return path


def waves(frames: int = 20, points: int = 16) -> Tensor:
    x = torch.arange(points) * (2 * torch.pi / points)
    return torch.sin(x - 0.1 * torch.arange(frames)[:, None])


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_vorticity_panels_grow_with_methods_and_times() -> None:
    path = wake()
    one, two = draw_vorticity({"SRC": path}, [2, 7]), draw_vorticity({"SRC": path, "SOL": path}, [2, 7])
    assert size(one)[0] == size(two)[0]
    assert size(one)[1] < size(two)[1]
    assert size(draw_vorticity({"SRC": path}, [2]))[0] < size(one)[0]
    assert one == draw_vorticity({"SRC": path}, [2, 7])
    assert one != draw_vorticity({"SRC": path}, [2, 7], limit=1.0)
    assert size(draw_vorticity({"SRC": path}, [2], title="A wake"))[1] > size(draw_vorticity({"SRC": path}, [2]))[1]


def test_turning_one_way_is_red_and_the_other_blue() -> None:
    mirrored = wake().clone()
    mirrored[:, 0, :, :-1] = mirrored[:, 0, :, :-1].flip(2)
    mirrored[:, 1] = -mirrored[:, 1].flip(2)
    for path, sign in ((wake(), 1), (mirrored, 1)):
        picture = pixels(draw_vorticity({"": path}, [7]))
        red, blue = picture[..., 0] - picture[..., 2] > 60, picture[..., 2] - picture[..., 0] > 60
        assert red.sum() > 500
        assert blue.sum() > 500
        # Above the disc (the larger x) the flow is slowed towards it: v_y grows with x there, so the vorticity is
        # above 0, whatever side the poke was on.
        assert sign * (np.nonzero(blue)[0].mean() - np.nonzero(red)[0].mean()) > 10


def test_a_state_that_blew_up_is_a_grey_panel() -> None:
    path = wake()
    whole, half = (
        draw_vorticity({"a": path, "b": path}, [2, 7]),
        draw_vorticity({"a": path, "b": gone(path, 5)}, [2, 7]),
    )
    grey = (228, 231, 234)
    counts = [int((pixels(png) == grey).all(-1).sum()) for png in (whole, half)]
    assert counts[0] < 100 < 10000 < counts[1]
    assert size(draw_vorticity({"a": gone(path, 0)}, [2]))[0] > 100  # nothing is left to take a scale from


def test_methods_may_be_of_different_lengths() -> None:
    assert draw_vorticity({"a": wake(8), "b": wake(5)}, [4])
    with pytest.raises(InvalidSetting, match="from 0 to 4"):
        draw_vorticity({"a": wake(8), "b": wake(5)}, [5])
    assert draw_space_time({"a": waves(20), "b": waves(10)}, 0.5, 6.0)


def test_space_time_panels() -> None:
    path = waves()
    alone = draw_space_time({"reference": path}, 0.5, 6.0)
    both = draw_space_time({"reference": path, "half": path / 2}, 0.5, 6.0, title="Waves")
    assert size(both)[0] > size(alone)[0]
    assert size(both)[1] > size(alone)[1]
    plain = draw_space_time({"reference": path, "half": path / 2}, 0.5, 6.0, differences=False)
    assert size(plain)[0] == size(alone)[0]
    half_gone = draw_space_time({"reference": path, "half": gone(path / 2, 10)}, 0.5, 6.0, title="Waves")
    grey = [int((pixels(png) == (228, 231, 234)).all(-1).sum()) for png in (both, half_gone)]
    assert grey[0] < 100 < 10000 < grey[1]


def test_errors_over_time() -> None:
    rows = torch.linspace(0.01, 1.0, 50) * torch.tensor([0.8, 1.0, 1.3])[:, None]
    one = draw_errors({"SRC": rows[1], "SOL": rows / 2}, 0.5, baselines=["SRC"], title="A")
    assert one == draw_errors({"SRC": rows[1], "SOL": rows / 2}, 0.5, baselines=["SRC"], title="A")
    assert one != draw_errors({"SRC": rows[1], "SOL": rows[1] / 2}, 0.5, baselines=["SRC"], title="A")
    assert one != draw_errors({"SRC": rows[1], "SOL": rows / 2}, 0.5, title="A")
    assert size(one) == (1280, 780)


@pytest.mark.parametrize(
    "errors",
    [
        {"a": torch.zeros(5), "b": torch.zeros(5)},
        {"a": torch.tensor([0.0, 1.0, torch.inf]), "b": torch.tensor([0.0, 1.0, 2.0])},
        {"a": torch.tensor([0.0, torch.nan, torch.inf])},
        {"a": torch.full((3, 4), torch.inf), "b": torch.rand(2, 9)},
        {"a": torch.tensor([0.0, 1.0, 1e30, torch.inf]), "b": torch.tensor([0.0, 0.1, 0.2, 0.3])},
        {"a": torch.tensor([[0.0, 1.0, torch.inf], [0.0, 1.0, 1.0]])},
        {"a": torch.tensor([-1.0, 2.0]), "a name that is far too long for its place at the side": torch.rand(2)},
    ],
)
def test_errors_of_every_kind_are_drawn(errors: dict[str, Tensor]) -> None:
    assert size(draw_errors(errors, 1.0)) == (1280, 780)


def test_spectra() -> None:
    numbers, energy = energy_spectrum(torch.randn(3, 40, 64, generator=torch.Generator().manual_seed(0)))
    one = draw_spectra({"reference": energy[0].mean(0), "SOL": energy.mean(1)}, numbers, baselines=["reference"])
    assert size(one) == (1280, 780)
    assert one != draw_spectra({"reference": energy[0].mean(0), "SOL": energy.mean(1)}, numbers)
    assert draw_spectra({"gone": torch.full((33,), torch.nan), "flat": torch.zeros(33)}, numbers)
    assert draw_spectra({"two": torch.rand(2)}, torch.tensor([0.0, 1.0]))


def test_an_animation_has_a_picture_a_frame() -> None:
    from PIL import Image

    path, seen = wake(12), []
    content = animate_vorticity(
        {"reference": path, "SRC": gone(path, 6)},
        [0, 3, 6, 9],
        width=100,
        fps=20,
        title="A",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    film: Any = Image.open(io.BytesIO(content))
    assert film.n_frames == 4
    assert (film.info["duration"], film.info["loop"]) == (50, 0)
    grey = []
    for number in range(4):
        film.seek(number)
        grey.append(int((np.asarray(film.convert("RGB")) == (228, 231, 234)).all(-1).sum()))
    assert max(grey[:2]) < 100 < 3000 < min(grey[2:])


def test_an_animation_keeps_the_order_it_is_given_and_the_columns() -> None:
    from PIL import Image

    path = wake(4)
    there, back = (animate_vorticity({"a": path}, frames, width=60) for frames in ([0, 3], [3, 0]))
    assert there != back
    assert there == animate_vorticity({"a": path}, [0, 3], width=60)
    four = dict.fromkeys("abcd", path)
    wide, tall = (Image.open(io.BytesIO(animate_vorticity(four, [1], width=60, columns=n))) for n in (4, 1))
    assert wide.size[0] > 3 * tall.size[0] > wide.size[1]
    assert Image.open(io.BytesIO(animate_vorticity(four, [1], width=60))).size[0] < wide.size[0]


def test_a_hundred_frames_stay_below_three_megabytes() -> None:
    from PIL import Image

    # The wakes of a grid twice as fine took 1.8 MB with five methods.
    path = wake(160)
    content = animate_vorticity({"reference": path, "SRC": path.flip(0)})
    film: Any = Image.open(io.BytesIO(content))
    assert film.n_frames == 80  # every second frame of 160
    assert len(content) < 1_500_000


def test_files_are_written_whole(tmp_path: Path) -> None:
    content = draw_errors({"a": torch.rand(5)}, 1.0)
    path = write_picture(tmp_path / "new" / "errors.png", content)
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["errors.png"]
    with pytest.raises(ResultsUnwritable, match="cannot write"):
        write_picture(str(path / "errors.png"), content)


CALLS: dict[str, Callable[[Any], bytes]] = {
    "vorticity": lambda methods: draw_vorticity(methods, [1]),
    "space_time": lambda methods: draw_space_time(methods, 0.5, 6.0),
    "errors": lambda methods: draw_errors(methods, 1.0),
    "spectra": lambda methods: draw_spectra(methods, torch.arange(9.0)),
    "animation": lambda methods: animate_vorticity(methods, [1]),
}
GOOD = {
    "vorticity": wake(2),
    "space_time": waves(),
    "errors": torch.rand(9),
    "spectra": torch.rand(9),
    "animation": wake(2),
}


@pytest.mark.parametrize("name", CALLS)
def test_matplotlib_is_named_where_it_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'zotoolkit\[plot\]'"):
        CALLS[name]({"a": GOOD[name]})


@pytest.mark.parametrize("name", CALLS)
def test_methods_of_another_form(name: str) -> None:
    for methods in ({}, [GOOD[name]], {3: GOOD[name]}):
        with pytest.raises(InvalidSetting, match="must be a dict"):
            CALLS[name](methods)
    for wrong in (None, torch.zeros(()), GOOD[name][None, None], GOOD[name].long(), GOOD[name].numpy(), GOOD[name][:0]):
        with pytest.raises(InvalidState, match="must be"):
            CALLS[name]({"a": wrong})


@pytest.mark.parametrize("name", ["vorticity", "space_time", "animation"])
def test_methods_that_do_not_fit_each_other(name: str) -> None:
    with pytest.raises(InvalidState, match="all methods must have states of shape"):
        CALLS[name]({"a": GOOD[name], "b": GOOD[name][..., :-1]})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: draw_vorticity({"a": wake(3)}, []), "frames must be"),
        (lambda: draw_vorticity({"a": wake(3)}, [3]), "from 0 to 2"),
        (lambda: draw_vorticity({"a": wake(3)}, [-1]), "frames must be"),
        (lambda: draw_vorticity({"a": wake(3)}, [1.0]), "frames must be"),  # pyright: ignore[reportArgumentType]
        (lambda: draw_vorticity({"a": wake(3)}, 1), "frames must be"),  # pyright: ignore[reportArgumentType]
        (lambda: draw_vorticity({"a": wake(3)}, [1], dt=0.0), "dt must be"),
        (lambda: draw_vorticity({"a": wake(3)}, [1], limit=-1.0), "limit must be"),
        (lambda: draw_space_time({"a": waves()}, 0.0, 6.0), "dt must be"),
        (lambda: draw_space_time({"a": waves()}, 0.5, 0.0), "length must be"),
        (lambda: draw_errors({"a": torch.rand(3)}, -1.0), "dt must be"),
        (lambda: animate_vorticity({"a": wake(3)}, fps=0.0), "fps must be"),
        (lambda: animate_vorticity({"a": wake(3)}, fps=60.0), "fps must be at most 50"),
        (lambda: animate_vorticity({"a": wake(3)}, width=10), "width must be"),
        (lambda: animate_vorticity({"a": wake(3)}, columns=0), "columns must be"),
        (lambda: animate_vorticity({"a": wake(3)}, progress=1), "progress must be"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_bad_settings(call: Callable[[], bytes], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        call()


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (torch.arange(8.0), "has 9 energies and there are 8 wave numbers"),
        (torch.arange(9.0) - 1, "none below 0"),
        (torch.zeros(9), "one above 0"),
        ([1.0] * 9, "wave_numbers must be"),
    ],
)
def test_bad_wave_numbers(numbers: Any, words: str) -> None:
    with pytest.raises(InvalidState, match=words):
        draw_spectra({"a": torch.rand(9)}, numbers)
