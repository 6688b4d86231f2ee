"""What a classifier may be, and how a convolutional network gets its images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zotoolkit.certification.classifiers import as_predict, is_classifier


class Viewing(nn.Module):
    """Calls `view` on its input, which channels-last images cannot bear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images.view(len(images), 3, 4, 4)).flatten(1) + images.view(len(images), -1)[:, :8]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_sees_the_same_numbers_in_another_layout(channels: int) -> None:
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)).eval()
    seen: list[tuple[int, ...]] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].stride()))
    images = torch.randn(7, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = as_predict(network)(images)
        assert seen.pop() == (16 * channels, 1, 4 * channels, channels)
        assert torch.allclose(found, network(images), atol=1e-5)


def test_a_network_that_views_its_input_gets_it_as_it_is() -> None:
    network = Viewing().eval()
    images = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    predict = as_predict(network)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(predict(images), network(images))


def test_other_modules_are_called_as_they_are() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    assert as_predict(network) is network


def test_what_is_a_classifier_by_its_type() -> None:
    class Service:
        def predict(self, images: Tensor) -> Tensor:
            return images

    assert is_classifier(Service())
    assert is_classifier(nn.Identity())
    assert not is_classifier(Service)
    assert not is_classifier(lambda images: images)
