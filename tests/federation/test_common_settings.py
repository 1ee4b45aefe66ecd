"""Data lists of sites that can and cannot take part in one federation; docs/faults.md has the messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.federation.common_settings import check_sites
from i2net_bundle.tasks import TASKS

LABELS = {"0": "background", "1": "liver", "2": "spleen"}


def data_list(folder: Path, **changes: Any) -> Path:
    """A data list with one case in each of its lists."""
    folder.mkdir(parents=True)
    for name in ("image", "label", "test", "test_label"):
        (folder / f"{name}.nii.gz").write_bytes(name.encode())
    training = [{"image": "image.nii.gz", "label": "label.nii.gz"}]
    test = [{"image": "test.nii.gz", "label": "test_label.nii.gz"}]
    content = {"labels": LABELS, "channel_names": {"0": "CT"}, "training": training, "test": test} | changes
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def check(folder: Path, **changes: Any) -> None:
    """Check two sites, the second of which differs by these changes."""
    sites = {"site-1": data_list(folder / "a"), "site-2": data_list(folder / "b", **changes)}
    check_sites(sites, data_list(folder / "test"), TASKS["ct"])


def test_sites_with_the_same_classes_and_channels_are_accepted(tmp_path: Path) -> None:
    check(tmp_path, name="Another hospital")


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"labels": {"0": "background", "1": "spleen", "2": "liver"}}, "classes background, spleen, liver"),
        ({"channel_names": {"0": "T2"}}, "channels T2"),
    ],
    ids=["order of the classes", "channel"],
)
def test_what_averaging_would_mix_up_is_refused(changes: dict[str, Any], reported: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"b/dataset\.json: has the {reported}; .*a/dataset\.json has"):
        check(tmp_path, **changes)


def test_the_test_set_must_have_the_classes_of_the_sites(tmp_path: Path) -> None:
    sites = {name: data_list(tmp_path / name) for name in ("site-1", "site-2")}
    test = data_list(tmp_path / "test", labels={"0": "background", "1": "liver"})
    with pytest.raises(ValueError, match=r"test/dataset\.json: has the classes background, liver"):
        check_sites(sites, test, TASKS["ct"])


def test_one_site_is_no_federation(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least two sites"):
        check_sites({"site-1": data_list(tmp_path / "a")}, data_list(tmp_path / "test"), TASKS["ct"])
