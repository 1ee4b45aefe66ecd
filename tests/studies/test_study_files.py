"""The studies that the bundle ships fit the bundle, and the published figures fit the studies."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from i2net_bundle.studies.plan_file import read_plan
from i2net_bundle.studies.preflight import workflows
from i2net_bundle.studies.published import published_table

FOLDER = Path(__file__).parents[2] / "configs" / "studies"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "published.yaml")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_arm_of_a_shipped_study_has_valid_settings(path: Path) -> None:
    plan = read_plan(path)
    for arm in plan.arms:
        workflows(plan, arm)


def test_the_shipped_studies_are_those_of_the_paper() -> None:
    assert {path.stem for path in FILES} >= {"smoke", "table1", "table3", "learners"}
    assert len(read_plan(FOLDER / "table3.yaml").arms) == 7
    learners = [arm.options.settings["num_learners"] for arm in read_plan(FOLDER / "learners.yaml").arms]
    assert learners == [1, 2, 3, 4, 6, 8]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_published_rows_stand_for_arms_of_their_study(path: Path) -> None:
    plan = read_plan(path)
    if plan.published is not None:
        rows = set(published_table(plan.published.table).rows)
        assert rows & {arm.name for arm in plan.arms}


def test_published_rows_are_complete() -> None:
    tables = yaml.safe_load((FOLDER / "published.yaml").read_text(encoding="utf-8"))["tables"]
    for name in tables:
        table = published_table(name)
        for row in table.rows.values():
            assert row.dsc is not None and 50 < row.dsc < 100
            assert len(row.class_dsc) == len(table.classes)
            if row.class_dsc and "not that of its classes" not in row.note:
                assert sum(row.class_dsc) / len(row.class_dsc) == pytest.approx(row.dsc, abs=0.6), row.title


def test_rows_whose_structure_is_open_are_marked() -> None:
    assert "open" in published_table("table1_glas").rows["carafe"].note
    assert published_table("table1_glas").rows["unet"].note


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no table 'table1_gals'. Did you mean 'table1_glas'\?"):
        published_table("table1_gals")
