"""The page of a study: self-contained, with both plots."""

from __future__ import annotations

import base64
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from i2net_bundle.studies.page import page, pictures
from tests.studies.tables import make_tables


def images(html: str) -> list[str]:
    found = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)"', html)
    return [base64.b64decode(data).decode() for data in found]


def test_the_page_contains_plots_tables_and_notes_and_loads_nothing(tmp_path: Path) -> None:
    html = page(make_tables(tmp_path))
    HTMLParser().feed(html)
    assert len(images(html)) == 2 and all(text.startswith("<?xml") for text in images(html))
    assert html.count("<table>") == 5
    assert "Phantoms, not patients" in html and "93.91†" in html
    assert "<strong>67.75</strong> ± 0.35" in html
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    tables = make_tables(tmp_path)
    assert page(tables) == page(tables)


def test_names_cannot_add_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = make_tables(tmp_path)
    object.__setattr__(tables.results.arms[0], "title", "<script>alert(1)</script>")
    assert "<script>" not in page(tables)


def test_few_cases_are_drawn_hollow_and_without_an_interval(tmp_path: Path) -> None:
    few, many = (next(pictures(make_tables(tmp_path / str(count), cases=count))) for count in (4, 8))
    lines = [len(picture.figure.axes[0].lines) for picture in (few, many)]
    assert lines == [3, 5]  # zero, two points, and an interval each
    assert few.figure.axes[0].lines[1].get_markerfacecolor() == "white"


def test_a_study_without_scores_has_a_page_without_plots(tmp_path: Path) -> None:
    tables = make_tables(tmp_path, missing="mine/fold_1")
    assert len(images(page(tables))) == 2
    for arm in ("i2net", "carafe", "mine"):
        shutil.rmtree(tmp_path / "cells" / arm, ignore_errors=True)
    (tmp_path / "none").mkdir()
    nothing = make_tables(tmp_path / "none", missing=".")
    assert images(page(nothing)) == []
