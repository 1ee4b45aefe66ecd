"""Check a study against the bundle, the machine and the data set, before the first run."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn

from i2net_bundle.data import load_cases
from i2net_bundle.data.folds import fold_lists
from i2net_bundle.data.image_files import image_paths, name_cases
from i2net_bundle.hardware import usable_device
from i2net_bundle.io.formats import is_volume
from i2net_bundle.io.privacy import shown_path
from i2net_bundle.studies.plan import Arm, Plan, PlanError
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.config_check import UnknownConfigKeyError, refuse_unknown_keys
from i2net_bundle.workflow.config_files import bundle_root
from i2net_bundle.workflow.errors import root_cause
from i2net_bundle.workflow.references import references

FOLDS_FOLDER = "folds"


@dataclass(frozen=True)
class Workflows:
    """Configurations of an arm.

    Attributes:
        train_files: files of training, in their order.
        train_settings: settings of training by id, which follow the files.
        evaluate_files: files of evaluation.
        evaluate_settings: settings of evaluation.
        trained: the merged configuration of training.
    """

    train_files: tuple[Path, ...]
    train_settings: Mapping[str, Any]
    evaluate_files: tuple[Path, ...]
    evaluate_settings: Mapping[str, Any]
    trained: Mapping[str, Any]


@dataclass(frozen=True)
class Fold:
    """One division of the data.

    Attributes:
        name: ``fold_0``, ….
        datalist: absolute path of its data list.
        training: images that train, relative to the data set's folder.
        scored: for each case that is scored, by its name in ``metrics.csv``: a name unique in the study.
    """

    name: str
    datalist: Path
    training: tuple[str, ...]
    scored: Mapping[str, str]


def workflows(plan: Plan, arm: Arm, overlays_dir: Path | None = None) -> Workflows:
    """Find the files of an arm and check its settings.

    Args:
        plan: the study.
        arm: one of its arms.
        overlays_dir: folder of further overlays.

    Raises:
        PlanError: an overlay is missing, or a setting is unknown or of the wrong type.
    """
    where, task, options = f"{plan.path}: {arm.name}", TASKS[plan.task], arm.options
    found = {name: _overlay(name, overlays_dir, where) for name in (*options.overlays, *options.train_overlays)}
    shipped = {name: _overlay(name, None, where) for name in ("train.json", "evaluate.json", *task.overlays)}
    shipped |= {name: _overlay(name, None, where) for name in task.train_overlays}
    shared = [found[name] for name in options.overlays]
    train_files = [shipped[name] for name in ("train.json", *task.overlays, *task.train_overlays)]
    train_files += [*(found[name] for name in options.train_overlays), *shared]
    evaluate_files = [*(shipped[name] for name in ("evaluate.json", *task.overlays)), *shared]
    own = {id for path in shared for id in ConfigParser.load_config_file(str(path))}
    evaluate = {id: value for id, value in options.settings.items() if id in own} | dict(options.evaluate_settings)
    trained = _merged(train_files, {"task": plan.task, **options.settings}, where)
    _merged(evaluate_files, {"task": plan.task, **evaluate}, where)
    device = trained.get("device")
    if isinstance(device, str) and not device.startswith("$"):
        _named(where, lambda: usable_device(device))
    return Workflows(tuple(train_files), options.settings, tuple(evaluate_files), evaluate, trained)


def build_network(
    plan: Plan, arm: Arm, trained: Mapping[str, Any], dataset_dir: Path, datalist: Path
) -> tuple[nn.Module, int]:
    """Build the network of an arm with random weights.

    Args:
        plan: the study.
        arm: one of its arms.
        trained: its merged configuration of training.
        dataset_dir: folder of the data set.
        datalist: data list that names the classes and channels.

    Returns:
        the network, and the number of image channels.

    Raises:
        PlanError: the network cannot be built, such as one that the bundle does not have.
    """
    where = f"{plan.path}: {arm.name}"
    parser = ConfigParser({**trained, "dataset_dir": str(dataset_dir), "datalist": str(datalist)})
    network = _named(where, lambda: parser.get_parsed_content("network_def"))
    if not isinstance(network, nn.Module):
        raise PlanError(f"{where}: network_def builds no torch.nn.Module. Correct the overlay.")
    return network, int(parser.get_parsed_content("num_channels"))


def study_folds(plan: Plan, dataset_dir: Path, out_dir: Path) -> list[Fold]:
    """Read the folds of a study, or make and write them.

    Args:
        plan: the study.
        dataset_dir: folder of the data set.
        out_dir: the study's folder; folds that the study makes are written to ``folds/`` in it.

    Raises:
        DataError, FileNotFoundError: a data list is missing or damaged, or lists files that are not there.
        PlanError: a list has no cases to train or to score, or two folds score the same image.
    """
    asked = plan.folds
    if asked.count is not None:
        folder = Path(os.path.abspath(out_dir)) / FOLDS_FOLDER
        try:
            paths = fold_lists(dataset_dir, asked.datalist, folder, asked.count, asked.by, asked.seed, asked.pooled)
        except ValueError as fault:
            raise PlanError(f"{plan.path}: folds: {fault}") from fault
    else:
        paths = [Path(os.path.abspath(dataset_dir)) / name for name in asked.lists]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise PlanError(
                f"{plan.path}: folds: {dataset_dir} has no {', '.join(missing)}. Copy the data lists there, or let the "
                "study make folds: {count: 5, by: image}."
            )
    cases = [_cases(plan, path) for path in paths]
    names = iter(name_cases([_without_name(case) for _, scored in cases for case in scored]))
    run = asked.only or range(len(paths))
    folds, seen = [], dict[str, str]()
    for number, (path, (training, scored)) in enumerate(zip(paths, cases, strict=True)):
        for case in scored:
            image = os.path.realpath(image_paths(case)[0])
            if image in seen:
                raise PlanError(
                    f"{plan.path}: folds: {path.name} and {seen[image]} both score {image_paths(case)[0]}, so their "
                    "scores cannot be joined. Use folds that score each image once."
                )
            seen[image] = path.name
        unique = {case["case"]: str(next(names)["case"]) for case in scored}
        images = [os.path.relpath(image_paths(case)[0], dataset_dir) for case in training]
        if number in run:
            folds.append(Fold(f"fold_{number}", path, tuple(sorted(images)), unique))
    return folds


def require_gpus(count: int, where: str) -> None:
    """Check that this machine has a number of GPUs.

    Raises:
        PlanError: it has fewer.
    """
    found = torch.cuda.device_count()
    if count > found:
        raise PlanError(f"{where}: {count} GPUs were requested, but this machine has {found}. Correct gpus / --gpus.")


def _cases(plan: Plan, path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cases that train and cases that are scored."""
    try:
        training = load_cases(path.parent, "training", datalist=path.name)
        scored = load_cases(path.parent, plan.split, datalist=path.name)
    except ValueError as fault:
        raise PlanError(
            f"{plan.path}: folds: {fault} A fold needs the lists 'training' and '{plan.split}'; the study can make "
            "folds: {count: 5, by: image}."
        ) from fault
    for image in (image_paths(case)[0] for case in (*training, *scored)):
        if is_volume(image) != TASKS[plan.task].volumes:
            kind = "a volume" if is_volume(image) else "a 2D image"
            raise PlanError(
                f"{plan.path}: task: {plan.task} does not fit the data set: {shown_path(image)} is {kind}. Correct the "
                "task, or --dataset_dir."
            )
    return training, scored


def _without_name(case: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in case.items() if key != "case"}


def _overlay(name: str, overlays_dir: Path | None, where: str) -> Path:
    """Path of an overlay in ``configs/``, else in the user's folder."""
    configs = bundle_root() / "configs"
    places = [configs, *([overlays_dir] if overlays_dir else [])]
    for place in places:
        if (place / name).is_file():
            return Path(os.path.abspath(place / name))
    near = difflib.get_close_matches(name, [path.name for place in places for path in place.glob("*.*")], 1, 0.4)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise PlanError(
        f"{where}: there is no overlay '{name}' in {' or '.join(map(str, places))}.{hint} Pass the folder of your own "
        "overlays with --overlays."
    )


def _merged(files: list[Path], settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The merged configuration; refuses settings that nothing uses or that have the wrong type."""
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    config: Any = parser.get()
    for id, value in settings.items():
        *parents, name = id.split("::")
        place: Any = config
        for parent in parents:
            place = place.get(parent) if isinstance(place, Mapping) else None
        if not isinstance(place, dict):
            raise PlanError(
                f"{where}: nothing uses the setting '{id}': there is no '{'::'.join(parents)}'. Correct the id."
            )
        _require_type(id, place.get(name), value, where)
        place[name] = value
    try:
        refuse_unknown_keys(config)
    except UnknownConfigKeyError as fault:
        raise PlanError(f"{where}: {fault}") from fault
    return {id: value for id, value in config.items() if id != "_meta_"}


def _require_type(id: str, before: Any, value: Any, where: str) -> None:
    """Refuse a value of another type than the plain value that it replaces."""
    if before is None or value is None or any(references(before)) or (isinstance(before, str) and before[:1] == "$"):
        return
    number = isinstance(before, int | float) and not isinstance(before, bool)
    kinds: Any = (int, float) if number else type(before)
    if not isinstance(value, kinds) or (number and isinstance(value, bool)):
        word = "a number" if number else {bool: "true or false", str: "a text", list: "a list"}.get(kinds, "a section")
        note = " YAML reads 1e-3 as a text; write 1.0e-3." if number and isinstance(value, str) else ""
        raise PlanError(f"{where}: {id} must be {word}, not {value!r:.60}.{note}")


def _named(where: str, work: Callable[[], Any]) -> Any:
    """Run a step of the configuration; name the arm in its errors."""
    try:
        return work()
    except Exception as error:
        raise PlanError(f"{where}: {root_cause(error)}") from error


def flat(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a configuration by id, without descriptions."""
    children = (
        config.items() if isinstance(config, Mapping) else enumerate(config) if isinstance(config, list) else None
    )
    if children is None or not config:
        yield prefix, config
        return
    for name, child in children:
        if name not in ("_desc_", "_meta_"):
            yield from flat(child, f"{prefix}::{name}" if prefix else str(name))
