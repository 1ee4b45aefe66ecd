"""What decides the result of a training run, recorded whole in its checkpoints and compared when it is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.volumes import content_sha256
from i2net_bundle.workflow.running_config import NOT_DECISIVE, running_parser

_SECTIONS_NOT_DECISIVE = frozenset({"epochs", "initialize", "run", "training", "imports", "finalize", "_meta_"})
_CASES = ("train::dataset::data", "validate::dataset::data")
"""Sections of which only the content of the cases counts."""
_HANDLERS = "train::handlers"
_HANDLERS_NOT_DECISIVE = (
    "record_handler",
    "FindingsRecord",
    "FolderLock",
    "InitialWeights",
    "LossProgressBar",
    "MLflowRecord",
    "RunCheckpoint",
    "SettingsRecord",
    "StatsHandler",
    "TensorBoardStatsHandler",
    "ValidationHandler",
    "ValidationImages",
)
_COMMENTS = ("_desc_", "_disabled_", "_requires_")
_SHOWN = 5


def result_settings(cases: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
    """Settings of the running configuration that decide its result, and the content of its cases.

    These are all ids of the configuration except places, resources, the start, and handlers that only observe. Values
    are as they are written: an expression or reference is compared as text.

    Args:
        cases: training cases: a path under "image" (or one per channel), and one under "label".
        validation: validation cases; they decide which epoch is the best.

    Returns:
        values as JSON text by id, such as ``{"optimizer::momentum": "0.9"}``, and SHA-256 digests by case.
    """
    found: dict[str, str] = {}
    for name, value in running_parser().get().items():
        if name not in NOT_DECISIVE | _SECTIONS_NOT_DECISIVE and name not in _COMMENTS:
            found |= dict(_leaves(value, name))
    for kind, listed in (("training", cases), ("validation", validation)):
        for number, case in enumerate(listed, 1):
            files = [*image_paths(case), *([case["label"]] if "label" in case else [])]
            found[f"{kind} case {number}"] = " ".join(content_sha256(path) for path in files)
    return found


def require_equal_settings(saved: Mapping[str, str], own: Mapping[str, str], whose: str) -> None:
    """Compare settings with those of a run.

    Args:
        saved: settings of the run.
        own: settings to resume it with.
        whose: what the settings are of, for the message, such as a checkpoint's path.

    Raises:
        ValueError: they differ; names the settings and both values.
    """
    differing = [name for name in {**saved, **own} if saved.get(name) != own.get(name)]
    if not differing:
        return
    shown = "; ".join(_difference(name, saved.get(name), own.get(name)) for name in differing[:_SHOWN])
    more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    raise ValueError(
        f"{whose} was trained with {shown}{more}. Resume with the same configuration, overlays and data, or train in "
        "another --output_dir."
    )


def _difference(name: str, saved: str | None, own: str | None) -> str:
    if " case " in name:
        if saved is None or own is None:
            return f"{name} {'only here' if saved is None else 'that is missing here'}"
        return f"{name} of other content than here"
    return f"{name} {_short(saved)}, here {_short(own)}"


def _short(value: str | None) -> str:
    return "not set" if value is None else value if len(value) <= 80 else f"{value[:77]}..."


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Ids and values below an id."""
    if name in _CASES:
        return
    if name == _HANDLERS and isinstance(value, list):
        value = [item for item in value if not _only_observes(item)]
    if isinstance(value, Mapping):
        for key, child in value.items():
            if key not in _COMMENTS:
                yield from _leaves(child, f"{name}::{key}")
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for index, child in enumerate(value):
            yield from _leaves(child, f"{name}::{index}")
    else:
        yield name, json.dumps(value, default=str)


def _only_observes(handler: Any) -> bool:
    return isinstance(handler, Mapping) and str(handler.get("_target_")).rpartition(".")[2] in _HANDLERS_NOT_DECISIVE
