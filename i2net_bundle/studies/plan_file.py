"""Read the description of a study: a short YAML file that spans a grid of runs.

The file is data. It is read without any tags, and text that a configuration would evaluate is refused; only the
overlays that it names, which belong to the bundle or to a folder that the user allows, contain expressions.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from i2net_bundle.studies.plan import Arm, Folds, Options, Plan, PlanError, Published
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.run_records import refuse_expressions
from i2net_bundle.workflow.running_config import is_plain

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]{0,63}")
_OVERLAY = re.compile(r"[\w.-]+\.(?:yaml|yml|json)")
_ID = re.compile(r"[A-Za-z_]\w*(?:::\w+)*")
_OF_THE_STUDY = {
    **dict.fromkeys(("dataset_dir", "output_dir", "bundle_root"), "the command line sets it"),
    **dict.fromkeys(("datalist", "split", "seed", "task"), "it is a key of the study itself"),
    **dict.fromkeys(("resume", "extend", "weights", "results_dir", "overwrite"), "the study sets it for each run"),
}


def read_plan(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Read the description of a study.

    Args:
        path: the YAML file.
        overrides: settings of all runs that take precedence over those of the file, by id.

    Raises:
        FileNotFoundError: the file does not exist.
        PlanError: the file is not a valid description.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Pass the YAML file of a study, such as those in configs/studies."
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as cause:
        raise PlanError(f"{path} is not valid YAML: {' '.join(str(cause).split())}. Correct it.") from cause
    try:
        return _plan(path, content, overrides or {})
    except PlanError as fault:
        raise PlanError(f"{path}: {fault}") from fault


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML in which no key occurs twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse repeated keys, of which YAML would silently keep the last."""
        keys = [key.value for key, _ in node.value]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{repeated}' occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _plan(path: Path, content: Any, overrides: Mapping[str, Any]) -> Plan:
    root = _Fields(content, "the study")
    task = root.text("task")
    if task not in TASKS:
        raise PlanError(f"task '{task}' is unknown. Use one of: {', '.join(TASKS)}.")
    shared = _options(root)
    last = Options(settings=_settings(overrides, "--set"))
    arms = _arms(root.get("axes"), shared, last)
    names = [arm.name for arm in arms]
    reference = root.get("reference", names[0])
    if reference not in names:
        raise PlanError(f"reference '{reference}' is no combination of the axes.{_near(reference, names)}")
    seeds = root.integers("seeds", [0])
    split, folds = root.text("split", "validation"), _folds(root.get("folds"))
    if folds.count is not None and split != "validation":
        raise PlanError(f"split '{split}' is not in folds that the study makes. Remove it, or name data lists.")
    plan = Plan(
        path=path,
        title=root.text("title", path.stem),
        task=task,
        arms=arms,
        reference=reference if len(arms) > 1 else None,
        seeds=seeds,
        folds=folds,
        split=split,
        gpus=root.integer("gpus", 0, 0),
        published=_published(root.get("published", None)),
    )
    root.done()
    return plan


def _arms(axes: Any, shared: Options, last: Options) -> tuple[Arm, ...]:
    """All combinations of the axes' values, the last axis varying fastest."""
    if not isinstance(axes, Mapping) or not axes:
        raise PlanError("axes must map the name of each axis, such as 'network', to its values.")
    values: list[list[Arm]] = []
    for axis, entries in axes.items():
        if not isinstance(entries, Mapping) or not entries:
            raise PlanError(
                f"axis '{axis}' must map the name of each value to its overlays and settings ({{}} for none)."
            )
        values.append([_value(str(axis), str(name), entry) for name, entry in entries.items()])
        lower = [value.name.lower() for value in values[-1]]
        if len(set(lower)) < len(lower):
            raise PlanError(f"axis '{axis}' has values whose names differ only in case. Rename one: they name folders.")
    arms = []
    for combination in itertools.product(*values):
        options = shared
        for value in combination:
            options = options.plus(value.options)
        name = "/".join(value.name for value in combination)
        arms.append(Arm(name, ", ".join(value.title for value in combination), options.plus(last)))
    return tuple(arms)


def _value(axis: str, name: str, entry: Any) -> Arm:
    where = f"{axis} '{name}'"
    if not _NAME.fullmatch(name):
        raise PlanError(f"{where} cannot name a folder. Use up to 64 letters, digits and _ . + = -")
    fields = _Fields({} if entry is None else entry, where)
    value = Arm(name, fields.text("title", name), _options(fields))
    fields.done()
    return value


def _options(fields: _Fields) -> Options:
    return Options(
        _overlays(fields, "overlays"),
        _overlays(fields, "train_overlays"),
        _settings(fields.get("settings", {}), fields.where),
        _settings(fields.get("evaluate_settings", {}), fields.where),
    )


def _overlays(fields: _Fields, key: str) -> tuple[str, ...]:
    names = fields.texts(key, [])
    for name in names:
        if not _OVERLAY.fullmatch(name):
            raise PlanError(
                f"{fields.where}: '{name}' in {key} must be the file name of an overlay in configs/, or in the folder "
                "given by --overlays, without a path."
            )
    return names


def _settings(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise PlanError(f"{where}: settings must map ids such as 'epochs' to values.")
    for id, value in content.items():
        if not isinstance(id, str) or not _ID.fullmatch(id) or re.search(r"(?:^|::)_", id):
            raise PlanError(
                f"{where}: '{id}' is not the id of a setting. Write ids such as 'train::preprocessing::size'."
            )
        if id in _OF_THE_STUDY:
            raise PlanError(f"{where}: remove the setting '{id}'; {_OF_THE_STUDY[id]}.")
        if not is_plain(value) or _contains_mapping(value):
            raise PlanError(f"{where}: {id} must be a number, a text, true, false, null or a list of these.")
        try:
            refuse_expressions(value, where)
        except ValueError as fault:
            raise PlanError(
                f"{where}: {id} contains an expression. Write a plain value, or move it to an overlay."
            ) from fault
    return dict(content)


def _contains_mapping(value: Any) -> bool:
    """Whether a plain value is a mapping, or a list that contains one."""
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(_contains_mapping, value)))


def _folds(content: Any) -> Folds:
    fields = _Fields(content, "folds")
    if "lists" in fields.content:
        lists = fields.texts("lists", None)
        if not lists or len(set(lists)) < len(lists) or any(Path(name).name != name for name in lists):
            raise PlanError("folds: lists must name different data lists in the data set's folder, without a path.")
        fields.done()
        return Folds(lists=lists)
    by = fields.text("by", "image")
    if by not in ("image", "patient"):
        raise PlanError(f"folds: by must be image or patient, not '{by}'.")
    folds = Folds(
        count=fields.integer("count", None, 2),
        by=by,
        seed=fields.integer("seed", 0, 0),
        datalist=fields.text("datalist", "dataset.json"),
        pooled=fields.texts("pooled", ["training", "validation"]),
        only=fields.integers("only", []) if "only" in fields.content else (),
    )
    if folds.count is not None and max(folds.only, default=0) >= folds.count:
        raise PlanError(f"folds: only names fold {max(folds.only)}, but {folds.count} folds have the numbers from 0.")
    fields.done()
    return folds


def _published(content: Any) -> Published | None:
    if content is None:
        return None
    fields = _Fields(content, "published")
    published = Published(fields.text("table"), fields.get("comparable", False))
    fields.done()
    if not isinstance(published.comparable, bool):
        raise PlanError("published: comparable must be true or false.")
    return published


class _Fields:
    """Read a mapping key by key; unknown keys and wrong types are faults."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, Mapping):
            raise PlanError(f"{where} must map keys to values.")
        self.content, self.where, self.read = content, where, list[str]()

    def get(self, key: str, *default: Any) -> Any:
        self.read.append(key)
        if key not in self.content and not default:
            raise PlanError(f"{self.where} lacks '{key}'. Add it; docs/studies.md lists the keys.")
        return self.content.get(key, *default)

    def text(self, key: str, *default: str) -> str:
        found = self.get(key, *default)
        if not isinstance(found, str) or not found.strip() or not found.isprintable():
            raise PlanError(f"{self.where}: {key} must be a text, not {found!r:.80}.")
        return found

    def texts(self, key: str, default: Any) -> tuple[str, ...]:
        found = self.get(key, default)
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise PlanError(f"{self.where}: {key} must be a list of texts, not {found!r:.80}.")
        return tuple(found)

    def integer(self, key: str, default: int | None, least: int) -> int:
        found = self.get(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or found < least:
            raise PlanError(f"{self.where}: {key} must be a whole number from {least}, not {found!r:.80}.")
        return found

    def integers(self, key: str, default: Sequence[int]) -> tuple[int, ...]:
        found = self.get(key, default)
        whole = isinstance(found, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in found)
        if not whole or not found or len(set(found)) < len(found) or min(found) < 0:
            raise PlanError(f"{self.where}: {key} must be a list of different whole numbers from 0, not {found!r:.80}.")
        return tuple(found)

    def done(self) -> None:
        unknown = [str(key) for key in self.content if key not in self.read]
        if unknown:
            near = _near(unknown[0], self.read)
            raise PlanError(
                f"{self.where} has unknown keys: {', '.join(unknown)}.{near} docs/studies.md lists the keys."
            )


def _near(name: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    return f" Did you mean '{near[0]}'?" if near else ""
