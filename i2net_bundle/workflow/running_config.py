"""Read the running configuration from inside a component: plain settings, and the configuration of a network."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pydoc import locate
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.config_item import ComponentLocator, ConfigComponent

from i2net_bundle.workflow.config_files import config_files
from i2net_bundle.workflow.references import references

WORKFLOWS = ("train.json", "evaluate.json", "inference.json")
LOCATION_AND_RESOURCES = frozenset(
    {
        "bundle_root",
        "cache_dir",
        "cache_limit_gb",
        "data_keys",
        "dataset_dir",
        "dataset_name",
        "device",
        "fast",
        "mlflow_uri",
        "num_workers",
        "output_dir",
        "process_timeout",
        "val_interval",
    }
)
"""Settings that say where and with what a run is done, and not what results from it."""
NOT_DECISIVE = LOCATION_AND_RESOURCES | frozenset(
    {
        # start
        "encoder_weights",
        "extend",
        "init_weights",
        "resume",
        # the record contains what follows from it
        "label_table",
    }
)
"""Settings that may differ in a resumed run."""
_RECORDED_ELSEWHERE = frozenset({"divisor", "image_size", "task"})


def running_parser() -> ConfigParser:
    """Find the parser of the running configuration among the callers.

    Raises:
        RuntimeError: not called from a configuration.
    """
    frame = sys._getframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back  # type: ignore[assignment]
    raise RuntimeError("This component works only inside a bundle configuration.")


def component_settings(id: str) -> dict[str, Any] | None:
    """Target and resolved arguments of a component of the running configuration, as plain data.

    Args:
        id: an id such as "network_def".

    Returns:
        ``{"target": "package.Name", "arguments": {...}}``. The arguments are None if they are not plain data. The
        result is None if the id is not a component with an import path.
    """
    parser = running_parser()
    config: Any = parser.get(id)
    if not ConfigComponent.is_instantiable(config) or not isinstance(config["_target_"], str):
        return None
    arguments: dict[str, Any] = {}
    for name in config:
        if name not in ("_target_", "_desc_", "_disabled_", "_requires_", "_mode_"):
            arguments[name] = parser.ref_resolver.get_resolved_content(f"{id}::{name}")
    plain = all(is_plain(value) for value in arguments.values())
    return {"target": _public_path(config["_target_"]), "arguments": _plain(arguments) if plain else None}


def training_settings() -> dict[str, Any]:
    """Top-level settings of the running configuration that determine the result, by name.

    These are all plain values that something refers to, except derived values, values that the record contains
    elsewhere, and values that may differ in a resumed run.
    """
    parser = running_parser()
    config = parser.get()
    used = {reference.partition("::")[0] for reference in references(config)}
    found = {}
    for name in config:
        follows = any(references(config[name]))
        if name in used and name not in NOT_DECISIVE | _RECORDED_ELSEWHERE and is_setting(config[name]) and not follows:
            value = parser.ref_resolver.get_resolved_content(name)
            if is_plain(value):
                found[name] = _plain(value)
    return found


@cache
def shipped_ids() -> frozenset[str]:
    """Top-level ids of the shipped workflows. A shared overlay may set some that one workflow does not use."""
    configs: list[Any] = [ConfigParser.load_config_file(file) for file in config_files(*WORKFLOWS)]
    return frozenset(name for config in configs for name in config if not name.startswith("_"))


def is_setting(value: Any) -> bool:
    """Whether a value is plain or an expression, not a section or component."""
    if isinstance(value, list):
        return not any(isinstance(item, Mapping | list) for item in value)
    return not isinstance(value, Mapping)


def is_plain(value: Any) -> bool:
    """Whether a value consists of numbers, text, booleans, and lists and mappings of these."""
    if isinstance(value, list | tuple):
        return all(is_plain(item) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and is_plain(item) for name, item in value.items())
    return value is None or type(value) in (str, int, float, bool)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def located(target: str) -> Any:
    """Find the callable of a ``_target_``, also by its bare name as MONAI does; None if there is none."""
    modules = _LOCATOR.get_component_module_name(target) if "." not in target else None
    return locate(f"{modules if isinstance(modules, str) else modules[0]}.{target}" if modules else target)


def _public_path(target: str) -> str:
    """The shortest import path of a target, such as ``monai.networks.nets.UNet``."""
    found: Any = located(target)
    module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", ".")
    if module is None or "." in name:
        return target
    for package in _parents(module):
        holder = sys.modules.get(package)
        if holder is not None and getattr(holder, name, None) is found and inspect.ismodule(holder):
            return f"{package}.{name}"
    return target


def _parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    for end in range(2, len(parts) + 1):
        yield ".".join(parts[:end])
    yield parts[0]


_LOCATOR = ComponentLocator()
