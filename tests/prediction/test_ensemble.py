"""Averages of several networks and views, and the maps kept of their logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from i2net_bundle.prediction.ensemble import AveragedNetwork, Readout


class Constant(nn.Module):
    """The same logits at every pixel."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[None, :, None, None].expand(len(images), -1, *images.shape[2:])


class Ramp(nn.Module):
    """A logit that grows to the right, whatever the image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.linspace(-2, 2, images.shape[3]).expand(len(images), 1, *images.shape[2:])


class Crowded(nn.Module):
    """Memory for ``room`` images at a time."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.seen = room, []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError
        return images[:, :1]


IMAGES = torch.rand(5, 3, 4, 6)


def test_one_view_gives_the_networks_own_logits() -> None:
    network = nn.Conv2d(3, 4, 3, padding=1)
    assert torch.equal(AveragedNetwork([network])(IMAGES), network(IMAGES))


def test_probabilities_are_averaged_not_logits() -> None:
    logits = AveragedNetwork([Constant(0.0, 0.0), Constant(0.0, 4.0)], variance=True)(IMAGES)
    odd = torch.tensor(4.0).sigmoid()  # the softmax of (0, 4)
    mean = (0.5 + odd) / 2
    assert torch.allclose(logits[:, :2].softmax(dim=1)[0, :, 0, 0], torch.stack([1 - mean, mean]))
    assert torch.allclose(logits[:, 2], ((odd - 0.5) / 2) ** 2)  # of two values: half their distance, squared


def test_outputs_of_flipped_images_are_flipped_back() -> None:
    plain, averaged = AveragedNetwork([Ramp()])(IMAGES), AveragedNetwork([Ramp()], flips=True)(IMAGES)
    assert torch.allclose(averaged.sigmoid(), (plain.sigmoid() + plain.flip(3).sigmoid()) / 2, atol=1e-6)


def test_batches_are_halved_until_they_fit_and_stay_small(caplog: pytest.LogCaptureFixture) -> None:
    network = Crowded(room=2)
    averaged = AveragedNetwork([network])
    for _ in range(2):
        assert torch.equal(averaged(IMAGES), IMAGES[:, :1])
    assert network.seen == [5, 2, 2, 1, 2, 2, 1]
    assert "5 images at a time do not fit into memory: continuing with 2" in caplog.text


class TooLarge(Crowded):
    """Asks the processor for more memory than there can be, where images do not fit."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.empty(2**58) if len(images) > self.room else images[:, :1]


def test_a_lack_of_cpu_memory_halves_the_batch_as_well() -> None:
    assert torch.equal(AveragedNetwork([TooLarge(room=2)])(IMAGES), IMAGES[:, :1])
    with pytest.raises(torch.OutOfMemoryError, match="DefaultCPUAllocator"):
        AveragedNetwork([TooLarge(room=0)])(IMAGES)


def test_other_errors_of_a_network_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="channels") as fault:
        AveragedNetwork([nn.Conv2d(5, 1, 1)])(IMAGES)
    assert not isinstance(fault.value, torch.OutOfMemoryError)


def test_a_single_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        AveragedNetwork([Crowded(room=0)])(IMAGES)


@pytest.mark.parametrize("out_channels", [1, 3])
def test_the_maps_belong_together(out_channels: int) -> None:
    logits = 3 * torch.randn(2, out_channels, 5, 7)
    readout = Readout(max(out_channels, 2), uncertainty=True, probabilities=True)
    maps = readout(logits).float()
    every = maps[:, 2:]
    assert readout.names[:2] == ["class", "entropy"] and maps.shape[1] == len(readout.names)
    assert torch.equal(every.argmax(dim=1), maps[:, 0].long())
    assert torch.allclose(every.sum(dim=1), torch.ones(2, 5, 7), atol=2e-3)
    expected = -(every * every.clamp(min=1e-7).log()).sum(dim=1) / torch.tensor(every.shape[1]).log()
    assert torch.allclose(maps[:, 1], expected, atol=5e-3)


@pytest.mark.parametrize(("num_classes", "out_channels"), [(3, 9), (3, 1), (2, 3)])
def test_logits_of_another_number_of_classes_are_refused(num_classes: int, out_channels: int) -> None:
    with pytest.raises(ValueError, match=f"returns {out_channels} channels of logits for {num_classes} classes"):
        Readout(num_classes)(torch.zeros(1, out_channels, 2, 2))


def test_equal_probabilities_have_an_entropy_of_one() -> None:
    assert Readout(4, uncertainty=True)(torch.zeros(1, 4, 2, 2))[0, 1].float().mean() == pytest.approx(1, abs=1e-3)


def test_the_class_index_alone_is_uint8() -> None:
    assert Readout(3)(torch.randn(1, 3, 2, 2)).dtype == torch.uint8
