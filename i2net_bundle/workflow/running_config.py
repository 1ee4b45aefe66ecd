"""What a component can learn of the configuration that builds it: plain settings, and how a network is configured."""

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
_NOT_OF_TRAINING = frozenset(
    {
        # where a run works
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
        "val_interval",
        # how it starts
        "encoder_weights",
        "init_weights",
        "resume",
        # recorded on their own
        "divisor",
        "image_size",
        "label_table",
        "task",
    }
)
"""Settings that may differ when a run is resumed, or that its record holds elsewhere."""


def running_parser() -> ConfigParser:
    """The parser of the configuration that is being built, found among the callers.

    Raises:
        RuntimeError: not called from a configuration.
    """
    frame = sys._getframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back  # type: ignore[assignment]
    raise RuntimeError("This component works within a bundle configuration alone.")


def component_settings(id: str) -> dict[str, Any] | None:
    """Target and resolved arguments of a component of the running configuration, as plain data.

    Args:
        id: such as "network_def".

    Returns:
        ``{"target": "package.Name", "arguments": {...}}``; arguments are None where they are more than plain data, and
        the whole is None where the id is no component that is named by its path.
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
    """Top-level settings of the running configuration that the course of training depends on, by name.

    Those are all plain values that something refers to. Left out are those that follow from others, those that the
    record holds elsewhere, and those that may differ when a run is resumed.
    """
    parser = running_parser()
    config = parser.get()
    used = {reference.partition("::")[0] for reference in references(config)}
    found = {}
    for name in config:
        follows = any(references(config[name]))
        if name in used and name not in _NOT_OF_TRAINING and is_setting(config[name]) and not follows:
            value = parser.ref_resolver.get_resolved_content(name)
            if is_plain(value):
                found[name] = _plain(value)
    return found


@cache
def shipped_ids() -> frozenset[str]:
    """Top-level ids of the shipped workflows: an overlay for all of them may set some that one does not use."""
    configs: list[Any] = [ConfigParser.load_config_file(file) for file in config_files(*WORKFLOWS)]
    return frozenset(name for config in configs for name in config if not name.startswith("_"))


def is_setting(value: Any) -> bool:
    """Whether a value of a configuration is plain or an expression, no section and no component."""
    if isinstance(value, list):
        return not any(isinstance(item, Mapping | list) for item in value)
    return not isinstance(value, Mapping)


def is_plain(value: Any) -> bool:
    """Whether a value consists of numbers, texts, truth values and lists and mappings of these."""
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
    """The callable of a ``_target_``, which MONAI also finds by its name alone; None where there is none."""
    modules = _LOCATOR.get_component_module_name(target) if "." not in target else None
    return locate(f"{modules if isinstance(modules, str) else modules[0]}.{target}" if modules else target)


def _public_path(target: str) -> str:
    """The shortest path from which a target can be imported: ``monai.networks.nets.UNet``."""
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
