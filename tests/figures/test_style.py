"""Style of the figures."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from i2net_bundle.figures.style import label_log_axis, report_style


@pytest.mark.parametrize(
    ("values", "expected"),
    [((50_000, 70_000), {"50,000", "60,000", "70,000"}), ((0.5, 20, 3000), {"1", "10", "100", "1,000"})],
    ids=["within a power of ten", "over several"],
)
def test_logarithmic_axes_have_plain_numbers(values: tuple[float, ...], expected: set[str]) -> None:
    with report_style():
        figure = Figure()
        axes = figure.subplots()
        axes.plot(range(len(values)), values)
        axes.set_yscale("log")
        label_log_axis(axes.yaxis)
        figure.draw_without_rendering()
        low, high = axes.get_ylim()
        ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
        labels = {tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high} - {""}
    assert labels == expected
