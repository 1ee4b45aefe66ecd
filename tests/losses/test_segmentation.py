"""Segmentation losses against hand-worked images and loops over classes and pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from i2net_bundle.losses.segmentation import BoundaryWeightedLoss, CrossEntropyDiceLoss, OhemCrossEntropyLoss

LN2 = math.log(2)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def slow_cross_entropy_dice(
    logits: torch.Tensor, target: torch.Tensor, ce_weight: float, dice_weight: float, smooth: float
) -> float:
    """TransUNet's loss, one class and one pixel at a time."""
    batch, classes, height, width = logits.shape
    probability = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    pixels = [(b, y, x) for b in range(batch) for y in range(height) for x in range(width)]
    cross_entropy = 0.0
    for b, y, x in pixels:
        cross_entropy -= math.log(probability[b, target[b, 0, y, x].long(), y, x].item()) / len(pixels)
    dice_loss = 0.0
    for c in range(classes):
        overlap = squares = 0.0
        for b, y, x in pixels:
            p, t = probability[b, c, y, x].item(), float(target[b, 0, y, x] == c)
            overlap += p * t
            squares += p * p + t * t
        dice_loss += (1 - (2 * overlap + smooth) / (squares + smooth)) / classes
    return ce_weight * cross_entropy + dice_weight * dice_loss


def slow_boundary_weighted(
    logits: torch.Tensor, target: torch.Tensor, kernel_size: int, boundary_weight: float
) -> float:
    """Weighted cross-entropy and IoU, one pixel at a time."""
    total = 0.0
    for image, mask in zip(logits[:, 0].tolist(), target[:, 0].tolist(), strict=True):
        height, width, reach = len(mask), len(mask[0]), kernel_size // 2
        weights = cross_entropy = intersection = union = 0.0
        for y in range(height):
            for x in range(width):
                rows = range(max(0, y - reach), min(height, y + reach + 1))
                cols = range(max(0, x - reach), min(width, x + reach + 1))
                window = [mask[i][j] for i in rows for j in cols]
                t, p = mask[y][x], 1 / (1 + math.exp(-image[y][x]))
                weight = 1 + boundary_weight * abs(sum(window) / len(window) - t)
                weights += weight
                cross_entropy -= weight * math.log(p if t else 1 - p)
                intersection += weight * p * t
                union += weight * (p + t - p * t)
        total += cross_entropy / weights + 1 - (intersection + 1) / (union + 1)
    return total / len(logits)


class TestCrossEntropyDiceLoss:
    def test_two_undecided_pixels_by_hand(self) -> None:
        loss = CrossEntropyDiceLoss()(torch.zeros(1, 2, 1, 2), torch.tensor([[[[0, 1]]]]))
        # cross-entropy ln 2; each class: 2 (1/2) / (2 (1/4) + 1) = 2/3; 0.5 ln 2 + 0.5 (1 - 2/3)
        assert loss.item() == pytest.approx(0.5 * LN2 + 0.5 / 3, abs=1e-5)

    def test_an_absent_class_scores_what_is_wrongly_given_to_it(self) -> None:
        dice_only = CrossEntropyDiceLoss(ce_weight=0.0, dice_weight=1.0)
        target = torch.zeros(1, 1, 1, 1)
        # p = (1/2, 1/2), true class 0: class 0 1 - 2 (1/2) / (1/4 + 1) = 1/5, class 1 1 - 0 / (1/4) = 1; mean 0.6
        assert dice_only(torch.zeros(1, 2, 1, 1), target).item() == pytest.approx(0.6, abs=1e-4)
        # p = (1, 0): the absent class has s / s, no loss
        assert dice_only(torch.tensor([100.0, -100.0]).view(1, 2, 1, 1), target).item() == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize(
        ("ce_weight", "dice_weight", "smooth"), [(0.5, 0.5, 1e-5), (1.0, 0.0, 1e-5), (0.0, 1.0, 1e-5), (0.3, 2.0, 1.0)]
    )
    def test_loss_equals_a_loop_over_classes_and_pixels(
        self, ce_weight: float, dice_weight: float, smooth: float
    ) -> None:
        logits = 2 * torch.randn(2, 5, 6, 4, dtype=torch.float64)
        target = torch.randint(0, 4, (2, 1, 6, 4))  # class 4 does not occur
        expected = slow_cross_entropy_dice(logits, target, ce_weight, dice_weight, smooth)
        found = CrossEntropyDiceLoss(ce_weight, dice_weight, smooth)(logits, target)
        assert found.item() == pytest.approx(expected, rel=1e-9)

    def test_a_sure_and_right_prediction_costs_nothing(self) -> None:
        target = torch.randint(0, 3, (2, 1, 5, 5))
        logits = 100 * nn.functional.one_hot(target[:, 0], 3).permute(0, 3, 1, 2).float()
        assert CrossEntropyDiceLoss()(logits, target).item() == pytest.approx(0, abs=1e-6)

    def test_sums_run_over_the_whole_batch(self) -> None:
        logits, target = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 1, 4, 4))
        # the same pixels as one tall image
        tall = torch.cat([logits[:1], logits[1:]], dim=2), torch.cat([target[:1], target[1:]], dim=2)
        torch.testing.assert_close(CrossEntropyDiceLoss()(logits, target), CrossEntropyDiceLoss()(*tall))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32], ids=str)
    def test_labels_may_have_any_type(self, dtype: torch.dtype) -> None:
        logits, target = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 1, 4, 4))
        assert torch.equal(CrossEntropyDiceLoss()(logits, target.to(dtype)), CrossEntropyDiceLoss()(logits, target))


class TestBoundaryWeightedLoss:
    def test_one_undecided_pixel_by_hand(self) -> None:
        # no boundary, weight 1: ln 2 + 1 - (1/2 + 1) / (1 + 1), for p + t - p t = 1/2 + 1 - 1/2
        loss = BoundaryWeightedLoss()(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
        assert loss.item() == pytest.approx(LN2 + 0.25)

    def test_two_pixels_with_a_boundary_by_hand(self) -> None:
        # mask 1 0: mean 1/2 at both, weights 1 + 5/2 = 3.5; intersection 3.5/2 = 1.75, union 3.5 (1 + 1/2) = 5.25
        loss = BoundaryWeightedLoss(kernel_size=3)(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]]))
        assert loss.item() == pytest.approx(LN2 + 1 - 2.75 / 6.25)

    @pytest.mark.parametrize(("kernel_size", "boundary_weight"), [(3, 5.0), (5, 1.5), (31, 5.0), (3, 0.0)])
    def test_loss_equals_a_loop_over_pixels(self, kernel_size: int, boundary_weight: float) -> None:
        logits = 3 * torch.randn(2, 1, 8, 8, dtype=torch.float64)
        target = (torch.rand(2, 1, 8, 8) > 0.6).double()
        found = BoundaryWeightedLoss(kernel_size, boundary_weight)(logits, target)
        assert found.item() == pytest.approx(slow_boundary_weighted(logits, target, kernel_size, boundary_weight))

    def test_defaults_are_a_window_of_31_and_a_weight_of_5(self) -> None:
        logits, target = torch.randn(1, 1, 20, 40), (torch.rand(1, 1, 20, 40) > 0.5).float()
        assert BoundaryWeightedLoss()(logits, target).item() == pytest.approx(
            slow_boundary_weighted(logits, target, 31, 5.0), rel=1e-5
        )

    def test_the_image_border_is_no_boundary(self) -> None:
        # a mask of ones: every weight is 1, at the border too; p = 1/2: ln 2 + 1 - (64/2 + 1) / (64 + 1)
        loss = BoundaryWeightedLoss()(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
        assert loss.item() == pytest.approx(LN2 + 1 - 33 / 65)

    def test_a_batchs_loss_is_the_mean_of_its_images(self) -> None:
        logits, target = torch.randn(3, 1, 8, 8), (torch.rand(3, 1, 8, 8) > 0.5).float()
        alone = [BoundaryWeightedLoss()(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
        torch.testing.assert_close(BoundaryWeightedLoss()(logits, target), torch.stack(alone).mean())

    @pytest.mark.parametrize("filled", [0.0, 1.0], ids=["empty mask", "full mask"])
    def test_a_sure_and_right_prediction_costs_nothing(self, filled: float) -> None:
        target = torch.full((1, 1, 8, 8), filled)
        assert BoundaryWeightedLoss()(200 * target - 100, target).item() == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64], ids=str)
    def test_masks_may_have_any_type(self, dtype: torch.dtype) -> None:
        logits, target = torch.randn(1, 1, 6, 6), torch.rand(1, 1, 6, 6) > 0.5
        loss = BoundaryWeightedLoss()(logits, target.to(dtype))
        torch.testing.assert_close(loss, BoundaryWeightedLoss()(logits, target.float()))


@pytest.mark.parametrize(
    ("loss", "classes"),
    [(CrossEntropyDiceLoss(), 2), (BoundaryWeightedLoss(), 1), (OhemCrossEntropyLoss(), 2)],
    ids=["ce-dice", "boundary", "ohem"],
)
@pytest.mark.parametrize("size", [(1, 1), (7, 5)], ids=str)
def test_loss_and_gradient_are_finite_at_extreme_logits(loss: nn.Module, classes: int, size: tuple[int, int]) -> None:
    logits = (1e4 * torch.randn(2, classes, *size)).requires_grad_()
    value = loss(logits, (torch.rand(2, 1, *size) > 0.5).long())
    value.backward()
    assert value.ndim == 0
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def slow_boundary_weighted_classes(logits: torch.Tensor, target: torch.Tensor, kernel_size: int, ignored: int) -> float:
    """The loss of several classes, one pixel at a time; weight 5 at the boundary."""
    total = 0.0
    batch, classes, height, width = logits.shape
    probability = logits.softmax(dim=1)
    for b in range(batch):
        labels = target[b, 0].tolist()
        reach = kernel_size // 2
        weights = cross_entropy = 0.0
        intersection, union = [0.0] * classes, [0.0] * classes
        for y in range(height):
            for x in range(width):
                if labels[y][x] == ignored:
                    continue
                rows = range(max(0, y - reach), min(height, y + reach + 1))
                cols = range(max(0, x - reach), min(width, x + reach + 1))
                window = [labels[i][j] for i in rows for j in cols if labels[i][j] != ignored]
                weight = 1 + 5 * (1 - window.count(labels[y][x]) / len(window))
                weights += weight
                for c in range(classes):
                    p, t = probability[b, c, y, x].item(), float(labels[y][x] == c)
                    cross_entropy -= weight * math.log(p) * t
                    intersection[c] += weight * p * t
                    union[c] += weight * (p + t - p * t)
        iou = sum((i + 1) / (u + 1) for i, u in zip(intersection, union, strict=True)) / classes
        total += cross_entropy / weights + 1 - iou
    return total / batch


LOSSES = [CrossEntropyDiceLoss, BoundaryWeightedLoss, OhemCrossEntropyLoss]


class TestSeveralClasses:
    @pytest.mark.parametrize("ignored", [-1, 255], ids=["all count", "some ignored"])
    def test_boundary_weights_are_those_of_a_loop_over_pixels(self, ignored: int) -> None:
        logits, target = torch.randn(2, 3, 5, 6, dtype=torch.float64), torch.randint(0, 3, (2, 1, 5, 6))
        if ignored == 255:
            target[:, :, 1:3, 2:5] = 255
        loss = BoundaryWeightedLoss(3, ignore_index=255 if ignored == 255 else None)(logits, target)
        assert loss.item() == pytest.approx(slow_boundary_weighted_classes(logits, target, 3, ignored), abs=1e-5)

    def test_of_two_classes_it_is_that_of_one_logit_but_for_the_background_s_iou(self) -> None:
        logits, target = torch.randn(2, 1, 9, 7), torch.randint(0, 2, (2, 1, 9, 7))
        truth, probability = target.float(), logits.sigmoid()
        weight = 1 + 5 * (nn.functional.avg_pool2d(truth, 5, 1, 2, count_include_pad=False) - truth).abs()

        def iou(p: torch.Tensor, t: torch.Tensor) -> float:
            overlap, union = ((weight * part).sum((2, 3)) for part in (p * t, p + t - p * t))
            return ((overlap + 1) / (union + 1)).mean().item()

        one = BoundaryWeightedLoss(5)(logits, target).item()
        two = BoundaryWeightedLoss(5)(torch.cat([torch.zeros_like(logits), logits], dim=1), target).item()
        foreground, background = iou(probability, truth), iou(1 - probability, 1 - truth)
        assert two == pytest.approx(one + foreground - (foreground + background) / 2, abs=1e-5)


class TestIgnoredPixels:
    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("outputs", [1, 3])
    def test_what_is_predicted_there_changes_nothing(self, loss: type[nn.Module], outputs: int) -> None:
        if loss is not BoundaryWeightedLoss and outputs == 1:
            outputs = 2
        target = torch.randint(0, max(outputs, 2), (2, 1, 8, 8))
        target[:, :, 3:6, 2:7] = 255
        logits = torch.randn(2, outputs, 8, 8)
        changed = torch.where(target == 255, torch.full_like(logits, 7.0), logits)
        values = [loss(ignore_index=255)(item, target) for item in (logits, changed)]
        assert values[0].item() == pytest.approx(values[1].item(), abs=1e-6)

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("outputs", [1, 3])
    def test_without_any_the_value_is_that_of_the_plain_loss(self, loss: type[nn.Module], outputs: int) -> None:
        if loss is not BoundaryWeightedLoss and outputs == 1:
            outputs = 2
        logits, target = torch.randn(2, outputs, 8, 8), torch.randint(0, max(outputs, 2), (2, 1, 8, 8))
        assert loss(ignore_index=255)(logits, target).item() == pytest.approx(loss()(logits, target).item(), abs=1e-5)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_an_image_without_any_counted_pixel_is_finite_and_gives_no_gradient(self, loss: type[nn.Module]) -> None:
        logits = torch.randn(1, 3, 6, 6, requires_grad=True)
        value = loss(ignore_index=255)(logits, torch.full((1, 1, 6, 6), 255))
        value.backward()
        assert torch.isfinite(value)
        assert logits.grad is not None
        assert not logits.grad.any()


def logits_of(probabilities: list[float]) -> torch.Tensor:
    """Logits (1, 2, 1, N) of two classes, with these probabilities of class 0."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()])[None, :, None]


def slow_ohem(logits: torch.Tensor, target: torch.Tensor, threshold: float, min_kept: int, ignored: int) -> float:
    """Sort the counted pixels by the probability of their true class, and keep from the lowest on."""
    probability = logits.softmax(dim=1)
    found = []
    for b, _, y, x in (target != ignored).nonzero().tolist():
        found.append(probability[b, target[b, 0, y, x], y, x].item())
    kept = [p for rank, p in enumerate(sorted(found)) if rank < min_kept or p < threshold]
    return sum(-math.log(p) for p in kept) / len(kept)


class TestOhemCrossEntropyLoss:
    def test_pixels_below_the_threshold_count_by_hand(self) -> None:
        logits, target = logits_of([0.1, 0.5, 0.69, 0.71, 0.9]), torch.zeros(1, 1, 1, 5)
        loss = OhemCrossEntropyLoss(0.7, min_kept=1)(logits, target)
        assert loss.item() == pytest.approx(-math.log(0.1 * 0.5 * 0.69) / 3)

    def test_at_least_the_hardest_count_by_hand(self) -> None:
        logits, target = logits_of([0.9, 0.5, 0.99, 0.8]), torch.zeros(1, 1, 1, 4)
        loss = OhemCrossEntropyLoss(0.7, min_kept=3)(logits, target)
        assert loss.item() == pytest.approx(-math.log(0.5 * 0.8 * 0.9) / 3)

    def test_ties_at_the_last_place_all_count(self) -> None:
        logits, target = logits_of([0.9, 0.5, 0.9, 0.95, 0.9]), torch.zeros(1, 1, 1, 5)
        loss = OhemCrossEntropyLoss(0.7, min_kept=2)(logits, target)
        assert loss.item() == pytest.approx(-math.log(0.5 * 0.9**3) / 4)

    def test_all_count_if_there_are_fewer_than_the_least(self) -> None:
        logits, target = torch.randn(2, 4, 5, 3), torch.randint(0, 4, (2, 1, 5, 3))
        found = OhemCrossEntropyLoss(0.7, min_kept=100)(logits, target)
        torch.testing.assert_close(found, nn.functional.cross_entropy(logits, target[:, 0]))
        target[0, 0, :3] = 255
        found = OhemCrossEntropyLoss(0.7, min_kept=100, ignore_index=255)(logits, target)
        torch.testing.assert_close(found, nn.functional.cross_entropy(logits, target[:, 0], ignore_index=255))

    @pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 0), (0.3, 20), (0.3, 45), (0.05, 3), (1.0, 1)])
    def test_loss_equals_a_loop_over_sorted_pixels(self, threshold: float, min_kept: int) -> None:
        logits, target = 2 * torch.randn(2, 3, 6, 5, dtype=torch.float64), torch.randint(0, 3, (2, 1, 6, 5))
        target[:, :, 1:3, 2:4] = 255
        found = OhemCrossEntropyLoss(threshold, min_kept, ignore_index=255)(logits, target)
        assert found.item() == pytest.approx(slow_ohem(logits, target, threshold, min_kept, 255), rel=1e-9)

    def test_a_batch_without_hard_pixels_costs_nothing(self) -> None:
        logits = logits_of([0.9, 0.95]).requires_grad_()
        value = OhemCrossEntropyLoss(0.7, min_kept=0)(logits, torch.zeros(1, 1, 1, 2))
        value.backward()
        assert value.item() == 0 and not logits.grad.any()

    def test_only_pixels_that_count_have_a_gradient(self) -> None:
        logits = logits_of([0.1, 0.9, 0.2, 0.3]).requires_grad_()
        target = torch.tensor([[[[0, 0, 255, 0]]]])
        OhemCrossEntropyLoss(0.7, min_kept=1, ignore_index=255)(logits, target).backward()
        assert logits.grad.abs().sum((0, 1, 2)).gt(0).tolist() == [True, False, False, True]

    def test_it_can_be_differentiated_twice(self) -> None:
        logits, target = torch.randn(1, 3, 3, 4, dtype=torch.float64), torch.randint(0, 3, (1, 1, 3, 4))
        target[..., 0] = 255
        loss = OhemCrossEntropyLoss(0.4, min_kept=3, ignore_index=255)
        assert torch.autograd.gradgradcheck(lambda item: loss(item, target), logits.requires_grad_())

    def test_an_invalid_network_s_loss_is_not_hidden(self) -> None:
        logits = torch.randn(1, 2, 4, 4)
        logits[0, :, 1, 1] = math.nan
        assert OhemCrossEntropyLoss(0.7, min_kept=2)(logits, torch.zeros(1, 1, 4, 4)).isnan()

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [({"threshold": 0.0}, "threshold"), ({"threshold": 70}, "threshold"), ({"min_kept": -1}, "min_kept")],
    )
    def test_settings_that_select_nothing_are_refused(self, arguments: dict[str, float], named: str) -> None:
        with pytest.raises(ValueError, match=f"^{named} must"):
            OhemCrossEntropyLoss(**arguments)
