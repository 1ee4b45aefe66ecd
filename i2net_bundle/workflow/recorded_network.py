"""The network that weights belong to, built from their record without running anything that the record names.

Only networks of MONAI and of this bundle are built so, by their public names and from plain arguments.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from typing import Any

from torch import nn

from i2net_bundle.workflow.run_records import NetworkRecord, RunRecord, refuse_expressions
from i2net_bundle.workflow.running_config import component_settings

ALLOWED = ("monai.networks.nets", "i2net_bundle.networks")
"""Packages whose networks are built from a record."""

logger = logging.getLogger("i2net.weights")


def network_of_run(record: RunRecord, network: nn.Module, id: str = "network_def") -> nn.Module:
    """The network that weights were trained with.

    Args:
        record: of the weights.
        network: the configuration's own, which is taken where the record names the same one, or none.
        id: of that network in the running configuration.

    Raises:
        ValueError: the record names another network, which cannot be built from it; asks for the overlay.
    """
    if record.network is None:
        return network
    own = component_settings(id) or {"target": type(network).__name__, "arguments": None}
    if (own["target"], own["arguments"]) == (record.network.target, record.network.arguments):
        return network
    if own["target"] == record.network.target and record.network.arguments is None:
        return network
    if not can_build(record.network):
        raise ValueError(
            f"{record.path}: the weights are of {record.network.target}, and the configuration builds {own['target']}. "
            f"Only networks of {' and '.join(ALLOWED)} are built from a record; add the configuration that the weights "
            "were trained with: --overlay FILE of i2net, or after the workflow's own in --config_file of monai.bundle."
        )
    logger.info(f"{record.network.target}, as {record.path} records it")
    return build_network(record.network)


def can_build(record: NetworkRecord) -> bool:
    """Whether `build_network` builds this."""
    return record.arguments is not None and _factory(record.target) is not None


def build_network(record: NetworkRecord) -> nn.Module:
    """Build a network with random weights; those that its arguments would download are left out.

    Raises:
        ValueError: its target is no network of `ALLOWED`, or its arguments are not the network's.
    """
    factory, arguments = _factory(record.target), record.arguments
    if factory is None or arguments is None:
        raise ValueError(
            f"{record.target} is not built from a record: only networks of {' and '.join(ALLOWED)} with plain "
            "arguments are. Add the configuration that the weights were trained with: --overlay FILE."
        )
    refuse_expressions(arguments, "network")
    arguments = {name: False if name == "pretrained" else value for name, value in arguments.items()}
    try:
        network = factory(**arguments)
    except Exception as cause:
        raise ValueError(f"{record.target} cannot be built with {arguments} ({cause}).") from cause
    if not isinstance(network, nn.Module):
        raise ValueError(f"{record.target} builds no network.")
    return network


def _factory(target: str) -> Any:
    """A network's class, or one of this bundle's functions that build one; None for everything else."""
    package, _, name = target.rpartition(".")
    if package not in ALLOWED or name.startswith("_"):
        return None
    module = importlib.import_module(package)
    found = getattr(module, name, None)
    if inspect.isclass(found) and issubclass(found, nn.Module) and found.__module__.startswith(f"{package}."):
        return found
    own = inspect.isfunction(found) and package == "i2net_bundle.networks" and name in module.__all__
    return found if own and found.__module__.startswith(package) else None
