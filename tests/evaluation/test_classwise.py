"""Classwise metrics of label maps against MONAI's metrics of one-hot tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.metrics import CumulativeIterationMetric, DiceMetric, HausdorffDistanceMetric, SurfaceDistanceMetric
from monai.networks.utils import one_hot
from torch import Tensor, nn

from i2net_bundle.evaluation.classwise import ClasswiseMetric, classwise

# MONAI warns about every class that one of the masks lacks
pytestmark = pytest.mark.filterwarnings("ignore:.*is all 0, this may result in nan:UserWarning")

NUM_CLASSES = 5
SPACING_MM = (0.8, 1.5, 5.0)
METRICS = {
    "dice": DiceMetric,
    "hausdorff": lambda: HausdorffDistanceMetric(include_background=True),
    "hd95": lambda: HausdorffDistanceMetric(include_background=True, percentile=95),
    "surface distance": lambda: SurfaceDistanceMetric(include_background=True, symmetric=True),
}


def boxes(seed: int, shift: int = 0, absent: tuple[int, ...] = ()) -> Tensor:
    """Labels (1, 14, 12, 8) with one box per class, except the absent classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(1, 14, 12, 8, dtype=torch.uint8)
    for index in range(1, NUM_CLASSES):
        y, x, z = (int(torch.randint(0, n, (1,), generator=generator)) for n in (8, 7, 4))
        if index not in absent:
            labels[0, y + shift : y + 5, x : x + 4, z : z + 3 + shift] = index
    return labels


CASES = {
    "all present": (boxes(0, shift=1), boxes(0)),
    "far away": (boxes(1), boxes(2)),
    "perfect": (boxes(3), boxes(3)),
    "missed organ": (boxes(4, shift=1, absent=(2,)), boxes(4)),
    "invented organ": (boxes(5, shift=1), boxes(5, absent=(3,))),
    "organ absent from both": (boxes(6, absent=(1, 4)), boxes(6, absent=(1, 4))),
    "nothing predicted": (torch.zeros(1, 14, 12, 8, dtype=torch.uint8), boxes(7)),
    "empty truth": (boxes(8), torch.zeros(1, 14, 12, 8, dtype=torch.uint8)),
}


def of_one_hot(name: str, y_pred: Tensor, y: Tensor, spacing: tuple[float, ...] | None) -> Tensor:
    """MONAI's metric of one-hot tensors of all classes (1, C, ...), as (classes - 1,)."""
    pair = [one_hot(labels[None].long(), NUM_CLASSES)[:, 1:] for labels in (y_pred, y)]
    return METRICS[name]()(*pair, **({} if spacing is None else {"spacing": list(spacing)}))[0]


@pytest.mark.parametrize(
    ("name", "spacing"),
    [pytest.param(name, None, id=f"{name} in pixels") for name in METRICS]
    + [pytest.param(name, SPACING_MM, id=f"{name} in mm") for name in METRICS if name != "dice"],
)
@pytest.mark.parametrize("case", CASES)
def test_values_equal_those_of_one_hot_tensors(name: str, spacing: tuple[float, ...] | None, case: str) -> None:
    y_pred, y = CASES[case]
    found = classwise(METRICS[name](), y_pred, y, NUM_CLASSES, spacing)
    expected = of_one_hot(name, y_pred, y, spacing)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), equal_nan=True)


def test_dice_equals_the_arithmetic() -> None:
    y = torch.tensor([[[0, 1, 1, 1, 2, 2]]])
    y_pred = torch.tensor([[[0, 0, 1, 1, 1, 2]]])
    # class 1: 2 · 2 / (3 + 3); class 2: 2 · 1 / (1 + 2); class 3 is in neither
    found = classwise(DiceMetric(), y_pred, y, 4)
    torch.testing.assert_close(found, torch.tensor([2 / 3, 2 / 3, math.nan]), equal_nan=True)


def test_distances_are_in_mm_if_the_spacing_is_known() -> None:
    y, y_pred = torch.zeros(2, 1, 20, 9, dtype=torch.uint8)
    y[0, 4, 4], y_pred[0, 14, 4] = 1, 1
    metric = HausdorffDistanceMetric(include_background=True)
    assert classwise(metric, y_pred, y, 2).tolist() == [10]
    assert classwise(metric, y_pred, y, 2, (0.5, 3.0)).tolist() == [5]


def labelled(labels: Tensor, spacing: tuple[float, ...] = SPACING_MM) -> MetaTensor:
    return MetaTensor(labels, affine=torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64)))


def loader_of(cases: list[tuple[Tensor, Tensor]]) -> DataLoader:
    return DataLoader([{"image": y_pred.float(), "label": labelled(y)} for y_pred, y in cases], batch_size=1)


def evaluator_of(metrics: dict[str, ClasswiseMetric], cases: list[tuple[Tensor, Tensor]]) -> SupervisedEvaluator:
    """Run an evaluator whose "image" is the prediction."""
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader_of(cases),
        network=nn.Identity(),
        key_val_metric=dict(list(metrics.items())[:1]),
        additional_metrics=dict(list(metrics.items())[1:]),
    )
    evaluator.run()
    return evaluator


def test_an_evaluator_keeps_every_value_and_the_mean_over_classes_then_cases() -> None:
    cases = [CASES[name] for name in ("all present", "missed organ", "invented organ", "organ absent from both")]
    metrics = {"dice": ClasswiseMetric(DiceMetric(), NUM_CLASSES)}
    metrics["hd95"] = ClasswiseMetric(METRICS["hd95"](), NUM_CLASSES, use_spacing=True)
    state = evaluator_of(metrics, cases).state
    for name, spacing in (("dice", None), ("hd95", SPACING_MM)):
        expected = torch.stack([of_one_hot(name, *case, spacing) for case in cases]).float()
        assert expected.isnan().any()
        torch.testing.assert_close(state.metric_details[name], expected, equal_nan=True)
        means = [row[~row.isnan()].mean() for row in expected]
        assert state.metrics[name] == pytest.approx(float(torch.stack(means).mean()), rel=1e-5)
    assert state.key_metric_name == "dice"


def test_the_mean_dice_equals_monais_aggregate() -> None:
    cases = [CASES[name] for name in ("all present", "far away", "missed organ", "organ absent from both")]
    metric = DiceMetric(reduction="mean")
    for pair in cases:
        metric(*(one_hot(labels[None].long(), NUM_CLASSES)[:, 1:] for labels in pair))
    found = evaluator_of({"dice": ClasswiseMetric(DiceMetric(), NUM_CLASSES)}, cases).state.metrics["dice"]
    assert found == pytest.approx(metric.aggregate().item(), rel=1e-5)


def test_without_spacing_distances_are_in_pixels_for_any_affine() -> None:
    cases = [CASES["all present"]]
    state = evaluator_of({"hd95": ClasswiseMetric(METRICS["hd95"](), NUM_CLASSES)}, cases).state
    torch.testing.assert_close(state.metric_details["hd95"][0], of_one_hot("hd95", *cases[0], None).float())


def test_a_case_without_defined_values_is_left_out_of_the_mean() -> None:
    empty = torch.zeros(1, 14, 12, 8, dtype=torch.uint8)
    metric = ClasswiseMetric(DiceMetric(), NUM_CLASSES)
    assert evaluator_of({"dice": metric}, [CASES["perfect"], (empty, empty)]).state.metrics["dice"] == 1


def test_the_mean_without_defined_values_is_nan() -> None:
    empty = torch.zeros(1, 14, 12, 8, dtype=torch.uint8)
    found = evaluator_of({"dice": ClasswiseMetric(DiceMetric(), NUM_CLASSES)}, [(empty, empty)]).state.metrics["dice"]
    assert math.isnan(found)


def test_a_second_evaluation_starts_without_the_cases_of_the_first() -> None:
    metric = ClasswiseMetric(DiceMetric(), NUM_CLASSES)
    evaluator = evaluator_of({"dice": metric}, [CASES["far away"]])
    first = evaluator.state.metrics["dice"]
    evaluator.data_loader = [{"image": CASES["perfect"][0][None].float(), "label": labelled(CASES["perfect"][1])[None]}]
    evaluator.run()
    assert evaluator.state.metric_details["dice"].shape == (1, NUM_CLASSES - 1)
    assert evaluator.state.metrics["dice"] == 1 > first


@pytest.mark.parametrize("make", [DiceMetric, METRICS["hd95"]], ids=["dice", "hd95"])
def test_cases_may_differ_in_size(make: Callable[[], CumulativeIterationMetric]) -> None:
    metric = ClasswiseMetric(make(), NUM_CLASSES)
    for labels in (boxes(0), boxes(1)[:, :12, :, :7]):
        metric.update([[labels], [labelled(labels)]])
    assert metric.compute() in (0.0, 1.0)


def test_the_metric_needs_monai_s_state_only_when_it_is_completed() -> None:
    metric, engine = ClasswiseMetric(DiceMetric(), NUM_CLASSES), Engine(lambda *_: None)
    metric.update([[CASES["perfect"][0]], [labelled(CASES["perfect"][1])]])
    engine.state.metric_details = {}
    metric.completed(engine, "dice")
    assert engine.state.metrics["dice"] == 1


def test_what_is_predicted_where_the_truth_is_ignored_changes_nothing() -> None:
    y_pred, y = CASES["all present"]
    y = y.clone()
    y[:, :, 6:] = 255
    metrics = {name: ClasswiseMetric(METRICS[name](), NUM_CLASSES, ignore_index=255) for name in ("dice", "hd95")}
    states = []
    for predicted in (0, 1, 3):
        filled = y_pred.clone()
        filled[:, :, 6:] = predicted
        states.append(evaluator_of(metrics, [(filled, y)]).state.metric_details)
    assert states[0]["dice"].isfinite().any()
    for state in states[1:]:
        for name, values in state.items():
            torch.testing.assert_close(values, states[0][name], equal_nan=True)
