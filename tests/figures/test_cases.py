"""Pictures show errors in the right colours and the slices that tell most."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from i2net_bundle.figures.cases import FALSE_NEGATIVE, FALSE_POSITIVE, WRONG_CLASS, compare, show_prediction

CLASSES = ["background", "one", "two"]


def test_errors_are_red_blue_and_amber() -> None:
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


def test_a_prediction_is_shown_where_it_holds_most_classes() -> None:
    pred = np.zeros((6, 6, 5), np.uint8)
    pred[1:3, 1:3, 1:4] = 1
    pred[4, 4, 2] = 2
    figure = show_prediction(np.zeros((1, 6, 6, 5)), pred, ["background", "a", "b"], "case")
    assert [axis.get_title() for axis in figure.axes] == ["image, slice 2", "prediction"]


def test_the_picture_of_a_tall_strip_is_of_a_size_that_can_be_looked_at() -> None:
    figure = show_prediction(np.zeros((3, 1000, 2)), np.ones((1000, 2), np.uint8), ["background", "a"], "case")
    assert figure.get_size_inches()[1] < 50  # 2200 in the strip's own shape
