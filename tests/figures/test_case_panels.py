"""Pictures show errors in the right colours, the right slices, and the patient's sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from monai.data import MetaTensor

from i2net_bundle.figures.case_panels import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    WRONG_CLASS,
    compare,
    displayed,
    show_prediction,
    with_colors,
)
from i2net_bundle.figures.side_letters import NO_LETTERS, letters_of, side_letters
from i2net_bundle.labels import LabelClass, label_table

CLASSES = ["background", "one", "two"]


def test_errors_are_red_blue_and_lime() -> None:
    label = np.array([[0, 1, 1, 0]])
    pred = np.array([[1, 0, 2, 0]])
    figure = compare(np.zeros((1, 1, 4)), label, pred, CLASSES, title="case")
    errors = figure.axes[3].images[0].get_array()
    for column, color in enumerate((FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS)):
        assert np.allclose(errors[0, column], to_rgb(color))
    assert len(set(errors[0, 3])) == 1  # agreement stays grey


def test_truth_and_prediction_are_painted_where_they_are() -> None:
    label, pred = np.array([[1, 0]]), np.array([[0, 1]])
    figure = compare(np.full((1, 1, 2), 0.5), label, pred, CLASSES, title="case")
    truth, prediction = (figure.axes[column].images[0].get_array() for column in (1, 2))
    assert np.ptp(truth[0, 0]) > 0 and np.ptp(truth[0, 1]) == 0
    assert np.ptp(prediction[0, 1]) > 0 and np.ptp(prediction[0, 0]) == 0


def test_a_volume_shows_the_slices_with_most_classes_and_most_errors() -> None:
    label = np.zeros((4, 4, 6), int)
    label[0, :2, 2] = 1, 2  # two classes in slice 2
    pred = label.copy()
    pred[:, :, 5] = 1  # most errors in slice 5
    figure = compare(np.zeros((1, 4, 4, 6)), label, pred, CLASSES, title="case")
    titles = [figure.axes[row * 4].get_title() for row in range(len(figure.axes) // 4)]
    assert titles == ["image, slice 2", "image, slice 5"]


def test_histology_is_shown_in_its_own_colours() -> None:
    from i2net_bundle.transforms.preprocessing import histology_intensity

    rgb = np.array([200.0, 30.0, 90.0], np.float32)[:, None, None] * np.ones((3, 2, 2), np.float32)
    image = np.asarray(histology_intensity()({"image": rgb})["image"])
    shown = compare(image, np.zeros((2, 2), int), np.zeros((2, 2), int), CLASSES, "case").axes[0].images[0].get_array()
    assert np.allclose(shown[0, 0], np.array([200, 30, 90]) / 255, atol=1e-5)


def test_a_prediction_is_shown_where_it_contains_most_classes() -> None:
    pred = np.zeros((6, 6, 5), np.uint8)
    pred[1:3, 1:3, 1:4] = 1
    pred[4, 4, 2] = 2
    figure = show_prediction(np.zeros((1, 6, 6, 5)), pred, ["background", "a", "b"], "case")
    assert [axis.get_title() for axis in figure.axes] == ["image, slice 2", "prediction"]


def test_the_picture_of_a_tall_strip_is_of_a_size_that_can_be_looked_at() -> None:
    figure = show_prediction(np.zeros((3, 1000, 2)), np.ones((1000, 2), np.uint8), ["background", "a"], "case")
    assert figure.get_size_inches()[1] < 50  # 2200 in the strip's own shape


def test_the_colours_are_those_of_the_classes_in_pictures_and_legends() -> None:
    classes = (
        LabelClass("background", "#000000"),
        LabelClass("tumour", "#FF00FF"),
        LabelClass("cyst", "#00FFFF"),
    )
    label = np.array([[0, 1, 2]])
    figure = compare(np.zeros((1, 1, 3)), label, label, classes, title="case")
    truth = figure.axes[1].images[0].get_array()
    for index, item in enumerate(classes[1:], 1):
        assert np.allclose(truth[0, index], 0.55 * np.array(to_rgb(item.color)))
    patches = {text.get_text(): patch.get_facecolor()[:3] for text, patch in _legend(figure)}
    assert {name: patches[name] for name in ("tumour", "cyst")} == {"tumour": (1, 0, 1), "cyst": (0, 1, 1)}


def _legend(figure: Figure) -> list[tuple[Any, Any]]:
    legend = figure.legends[0]  # of the classes
    return list(zip(legend.get_texts(), legend.get_patches(), strict=True))


def test_a_class_in_the_colour_of_an_error_is_in_another_legend() -> None:
    classes = [LabelClass("background", "#000000"), LabelClass("tumour", FALSE_POSITIVE), LabelClass("cyst", "#ffb000")]
    label = np.array([[0, 1, 2]])
    figure = compare(np.zeros((1, 1, 3)), label, label, classes, title="case")
    legends = {legend.get_title().get_text(): legend for legend in figure.legends}
    names = {title: [text.get_text() for text in legend.get_texts()] for title, legend in legends.items()}
    assert names == {
        "truth and prediction": ["tumour", "cyst"],
        "errors": ["false positive", "false negative", "wrong class"],
    }
    figure.draw_without_rendering()
    left, right = (legend.get_window_extent() for legend in legends.values())
    assert left.x1 <= right.x0  # beside each other


@pytest.mark.parametrize("table", ["synapse", "glas"])
def test_no_class_of_the_built_in_organs_and_glands_has_the_colour_of_an_error(table: str) -> None:
    errors = np.array([to_rgb(color) for color in (FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS)])
    for item in label_table(table).classes[1:]:
        assert np.abs(errors - to_rgb(item.color)).max(axis=1).min() > 0.25, item.name


def test_letters_name_the_patients_sides_as_the_affine_does() -> None:
    assert side_letters(np.diag([-1.0, -1, 1, 1])) == ("A", "P")  # LPS
    assert side_letters(np.diag([-1.0, -1, 1, 1]), axis=0) == ("R", "L")
    assert side_letters(np.diag([1.0, 1, 1, 1]), axis=0) == ("L", "R")  # RAS
    assert side_letters(np.diag([1.0, 1, -1, 1]), axis=2) == ("S", "I")
    assert side_letters(np.diag([0.0, 1, 1, 1]), axis=0) == NO_LETTERS  # an axis without a direction
    assert [letters_of(image) for image in (np.zeros((1, 2, 2, 2)), MetaTensor(np.zeros((3, 2, 2))))] == 2 * [
        NO_LETTERS
    ]


@pytest.mark.parametrize(("affine", "letters"), [((0, -1), ["R", "L"]), ((0, 1), ["L", "R"])], ids=["to L", "to R"])
def test_pictures_of_volumes_have_the_letters_of_their_affine(affine: tuple[int, int], letters: list[str]) -> None:
    matrix = np.eye(4)
    matrix[:2, :2] = [[0, affine[1]], [1, 0]]  # columns run along the patient's x axis
    volume = MetaTensor(torch.zeros(1, 4, 4, 2), affine=matrix)
    label = np.zeros((4, 4, 2), int)
    figure = compare(np.asarray(volume), label, label, CLASSES, "case", letters_of(volume))
    assert [[text.get_text() for text in axis.texts] for axis in figure.axes[:4]] == 4 * [letters]
    shown = show_prediction(np.asarray(volume), label, CLASSES, "case", letters_of(volume))
    assert [[text.get_text() for text in axis.texts] for axis in shown.axes] == 2 * [letters]


def test_names_alone_get_the_colours_of_the_label_tables() -> None:
    assert [item.color for item in with_colors(["background", "gland"])] == ["#000000", "#009E73"]


def test_an_ignored_id_is_neither_painted_nor_an_error() -> None:
    label, pred = np.array([[255, 255, 0]]), np.array([[0, 1, 0]])
    figure = compare(np.full((1, 1, 3), 0.5), label, pred, CLASSES, title="case")
    truth, errors = (figure.axes[column].images[0].get_array() for column in (1, 3))
    assert np.ptp(truth[0, 0]) == 0
    assert len({tuple(pixel) for pixel in errors[0]}) == 1


def test_an_image_that_is_not_in_0_to_1_is_stretched_to_its_percentiles() -> None:
    z_scores = np.linspace(-2, 3, 400).reshape(1, 20, 20)
    shown = displayed(z_scores)
    assert (shown.min(), shown.max()) == (0, 1)
    assert shown[10, 0, 0] == pytest.approx(0.5, abs=0.02)


def test_the_first_channel_of_a_volume_is_shown_even_where_there_are_three() -> None:
    image = np.stack([np.linspace(0, 1, 16).reshape(4, 4), np.full((4, 4), 9.0), np.full((4, 4), 9.0)])
    np.testing.assert_allclose(displayed(image, rgb=False)[..., 1], image[0])
    volume = np.repeat(image[..., None], 2, axis=-1)
    empty = np.zeros((4, 4, 2), int)
    np.testing.assert_allclose(
        compare(volume, empty, empty, CLASSES, "x").axes[0].images[0].get_array()[..., 0], image[0]
    )
