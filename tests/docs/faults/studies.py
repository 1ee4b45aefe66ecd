"""Faults of descriptions of studies, found before the first run."""

from __future__ import annotations

import json
from pathlib import Path

from i2net_bundle.studies.plan_file import read_plan
from i2net_bundle.studies.preflight import build_network, require_gpus, study_folds, workflows
from tests.docs.faults.table import Make, Printed, refused
from tests.studies.grids import SMALL

GRID = SMALL.replace("FOLDS", "{count: 2}")


def described(before: str, after: str) -> Make:
    """A description in which a text is replaced."""

    def make(folder: Path) -> Printed:
        return refused(lambda: read_plan(_grid(folder, before, after)))

    return make


def set_up(before: str, after: str) -> Make:
    """A description that can be read, whose arms cannot be configured."""

    def make(folder: Path) -> Printed:
        plan = read_plan(_grid(folder, before, after))
        return refused(lambda: [workflows(plan, arm) for arm in plan.arms])

    return make


def folds(of_study: str, task: str = "histology", **lists: list[str]) -> Make:
    """A study with these folds of a data list of three images."""

    def make(folder: Path) -> Printed:
        path = _grid(folder, "{count: 2}", of_study)
        path.write_text(path.read_text(encoding="utf-8").replace("histology", task), encoding="utf-8")
        plan = read_plan(path)
        for name in ("a", "b", "c"):
            (folder / f"{name}.png").write_bytes(name.encode())
        for name, images in {"dataset": ["a.png", "b.png", "c.png"], **lists}.items():
            cases = [{"image": image, "label": image} for image in images]
            content = {"training": cases[1:], "validation": cases[:1]} if name in lists else {"training": cases}
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        return refused(lambda: study_folds(plan, folder, folder / "out"))

    return make


def unknown_network(folder: Path) -> Printed:
    plan = read_plan(_grid(folder, "decoder: bilinear", "decoder: bilinaer"))
    arm = plan.arms[1]
    return refused(lambda: build_network(plan, arm, workflows(plan, arm).trained, folder, folder / "dataset.json"))


def _grid(folder: Path, before: str, after: str) -> Path:
    assert before in GRID
    path = folder / "grid.yaml"
    path.write_text(GRID.replace(before, after), encoding="utf-8")
    return path


FAULTS: dict[str, Make] = {
    "unknown task": described("histology", "histologie"),
    "unknown key": described("folds:", "seds: [0]\nfolds:"),
    "repeated key": described("folds:", "task: ct\nfolds:"),
    "expression in a setting": described("epochs: 3", "epochs: $__import__('os')"),
    "setting that the study makes itself": described("epochs: 3", "dataset_dir: DATA"),
    "name that is no folder's": described("bilinear:", "a/b:"),
    "unknown reference": described("folds:", "reference: i2nett\nfolds:"),
    "missing overlay": set_up("peer.yaml", "pear.yaml"),
    "misspelt setting": set_up("epochs: 3", "epoch: 3"),
    "setting of another type": set_up("epochs: 3", "learning_rate: 1e-3"),
    "unknown network": unknown_network,
    "too few images for the folds": folds("{count: 9, pooled: [training]}"),
    "missing data list of a fold": folds("{lists: [fold_0.json]}"),
    "image that two folds score": folds(
        "{lists: [one.json, two.json]}", one=["a.png", "b.png"], two=["a.png", "c.png"]
    ),
    "data set of another task": folds("{lists: [one.json]}", task="ct", one=["a.png", "c.png"]),
    "too few GPUs": lambda folder: refused(lambda: require_gpus(99, "grid.yaml")),
}
