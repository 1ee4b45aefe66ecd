"""Correct a configuration after MONAI's command line; workflows list `check_config` first in ``initialize``.

MONAI silently adds unknown overrides (``--epoch 7``) and overlay keys to the configuration. They are errors here.
``--amp false`` arrives as the text "false", which is truthy. It is converted to a boolean. ``--class_names a,b,c``
arrives as a text, whose length is the number of its letters. It is converted to a list.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigComponent
from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS
from monai.utils import BundlePropertyConfig

from i2net_bundle.workflow.references import references
from i2net_bundle.workflow.running_config import located, running_parser, shipped_ids

_KEYWORDS = ("_target_", "_desc_", "_disabled_", "_requires_", "_mode_", "_meta_")
_NAMES = ("class_names", "channels")
_BOOLEANS = {"true": True, "false": False}
_ENTRY_POINTS = {"_meta_", "imports", "run", "initialize", "finalize", "training", "evaluating"}


class UnknownConfigKeyError(ValueError):
    """Nothing uses an id of the configuration."""


def check_config() -> None:
    """Refuse unknown keys of the running configuration, see `unknown_keys`, and convert texts of booleans and names.

    Raises:
        UnknownConfigKeyError: lists every unused id and the nearest valid one.
        RuntimeError: not called from a configuration.
    """
    parser = running_parser()
    config = parser.get()
    _convert_texts(parser, config)
    refuse_unknown_keys(config)


def refuse_unknown_keys(config: Mapping[str, Any]) -> None:
    """Refuse ids that nothing uses, see `unknown_keys`. Settings of the shipped workflows may be unused.

    Args:
        config: content of a configuration.

    Raises:
        UnknownConfigKeyError: lists every unused id and the nearest valid one.
    """
    problems = [
        f"'{key}'" + (f" (did you mean '{near[0]}'?)" if near else "")
        for key, valid in unknown_keys(config, shipped_ids())
        for near in [difflib.get_close_matches(key, valid, n=1, cutoff=0.4)]
    ]
    if problems:
        raise UnknownConfigKeyError(
            f"The configuration has ids that nothing uses: {', '.join(problems)}. Correct or remove them on "
            "the command line or in the overlay file."
        )


def unknown_keys(config: Mapping[str, Any], settings: Collection[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Find ids that no expression refers to and no callable accepts.

    An id of a plain section is known if something refers to it, or if it is an entry point or property of MONAI. A key
    of a component must be a parameter of its ``_target_``.

    Args:
        config: content of a configuration.
        settings: further ids to allow.

    Yields:
        the full id, joined by ``::``, and the valid ids in its place.
    """
    known = _known_ids(config) | set(settings) | set(references(config))
    known |= {prefix for key in known for prefix in _prefixes(key)}
    yield from _unknown_in_section(config, "", known)


def as_names(name: str, value: Any) -> Any:
    """Convert the text of a list of names to a list; return any other value unchanged.

    Args:
        name: id of the value.
        value: value of a configuration or from a command line.

    >>> as_names("class_names", "background, left kidney"), as_names("datalist", "a,b")
    (['background', 'left kidney'], 'a,b')
    """
    if name in _NAMES and isinstance(value, tuple):
        return list(value)
    is_text = isinstance(value, str) and not value.startswith(("$", "@", "%"))
    return [part.strip() for part in value.split(",")] if name in _NAMES and is_text else value


def _convert_texts(parser: ConfigParser, config: Mapping[str, Any]) -> None:
    """Replace "true", "false" and the texts of lists of names, before anything is built from them."""
    whole: Any = parser.config
    resolver: Any = parser.ref_resolver
    texts: list[tuple[tuple[str | int, ...], Any]] = list(_texts_of_booleans(config))
    texts += [((name,), as_names(name, config[name])) for name in _NAMES if name in config]
    for path, value in texts:
        _set_nested(whole, path, value)
        for depth in range(1, len(path) + 1):  # each resolver item contains a copy of its subtree
            item = resolver.get_item("::".join(map(str, path[:depth])))
            if depth == len(path):
                item.update_config(value)
            else:
                _set_nested(item.get_config(), path[depth:], value)


def _texts_of_booleans(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], bool]]:
    """Paths of the texts "true" and "false" in a configuration, with their boolean values."""
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        yield path, _BOOLEANS[value.lower()]
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from _texts_of_booleans(child, (*path, name))


def _set_nested(config: Any, path: Sequence[str | int], value: Any) -> None:
    for name in path[:-1]:
        config = config[name]
    config[path[-1]] = value


def _unknown_in_section(section: Mapping[str, Any], prefix: str, known: set[str]) -> Iterator[tuple[str, list[str]]]:
    for name, value in section.items():
        key = prefix + name
        if name in _KEYWORDS:
            continue
        if key not in known:
            yield key, [prefix + other for other in section if prefix + other in known]
        elif _is_section(value) and any(k.startswith(f"{key}::") for k in known):
            yield from _unknown_in_section(value, f"{key}::", known)
        else:
            yield from _unknown_in_components(value, key)


def _unknown_in_components(value: Any, key: str) -> Iterator[tuple[str, list[str]]]:
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    if ConfigComponent.is_instantiable(value):
        parameters = _parameters(value["_target_"])
        if parameters is not None:
            for name in value:
                if name not in parameters and name not in _KEYWORDS:
                    yield f"{key}::{name}", [f"{key}::{valid}" for valid in (*parameters, *_KEYWORDS)]
    for name, child in children:
        yield from _unknown_in_components(child, f"{key}::{name}")


def _parameters(target: Any) -> list[str] | None:
    """Parameter names of a target; None if it accepts any or cannot be inspected."""
    if not isinstance(target, str) or target.startswith("$"):
        return None
    found: Any = located(target)
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):
        return None
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return list(parameters)
    bases = [base for base in getattr(found, "__mro__", ())[1:] if base.__init__ is not object.__init__]
    if not (inspect.isclass(found) and bases):
        return None
    inherited = _parameters(f"{bases[0].__module__}.{bases[0].__qualname__}")
    return None if inherited is None else [*parameters, *inherited]


def _known_ids(config: Mapping[str, Any]) -> set[str]:
    """Entry points, properties of this kind of workflow, and the settings of MLflow tracking."""
    properties = {**MetaProperties, **(TrainProperties if "train" in config else InferProperties)}
    ids: set[str] = {str(entry[BundlePropertyConfig.ID]) for entry in properties.values()}
    configs: Any = DEFAULT_MLFLOW_SETTINGS["configs"]
    engines: Any = DEFAULT_MLFLOW_SETTINGS["handlers_id"]  # tracking extends these engines and adds no ids
    tracking: set[str] = {*configs, "save_execute_config"} - {*engines}
    return ids | _ENTRY_POINTS | tracking


def _prefixes(key: str) -> Iterator[str]:
    parts = key.split("::")
    for end in range(1, len(parts)):
        yield "::".join(parts[:end])


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and not ConfigComponent.is_instantiable(value)
