"""Build the network of some weights from their record, without running code from the record.

Only public networks of MONAI and of this bundle are built this way, from plain arguments.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import math
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from i2net_bundle.workflow.run_records import NetworkRecord, RunRecord, refuse_expressions
from i2net_bundle.workflow.running_config import component_settings

ALLOWED = ("monai.networks.nets", "i2net_bundle.networks")
"""Packages whose networks are built from a record."""

logger = logging.getLogger("i2net.weights")


def network_of_run(record: RunRecord, network: nn.Module, id: str = "network_def") -> nn.Module:
    """Return the network that weights were trained with.

    Args:
        record: record of the weights.
        network: network of the configuration; returned if the record names the same network or none.
        id: id of that network in the running configuration.

    Raises:
        ValueError: the record names another network that cannot be built from it.
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
            f"{record.path}: the weights belong to {record.network.target}, but the configuration builds "
            f"{own['target']}. "
            f"Only networks from {' and '.join(ALLOWED)} are built from a record. Add the configuration that was used "
            "for training: --overlay FILE of i2net, or in --config_file of monai.bundle after the workflow's own."
        )
    logger.info(f"{record.network.target}, as {record.path} records it")
    try:
        return build_network(record.network, _memory_limit(record.path))
    except ValueError as cause:
        raise ValueError(f"{record.path}: {cause} Copy it again from the run that wrote the weights.") from cause


def can_build(record: NetworkRecord) -> bool:
    """Whether `build_network` can build this network."""
    return record.arguments is not None and _factory(record.target) is not None


def build_network(record: NetworkRecord, limit_bytes: float = math.inf) -> nn.Module:
    """Build a network with random weights; nothing is downloaded.

    Args:
        record: its class or function, and plain arguments.
        limit_bytes: memory that its tensors may take while it is built.

    Raises:
        ValueError: the target is not a network from `ALLOWED`, the arguments do not fit it, or it is too large.
    """
    factory, arguments = _factory(record.target), record.arguments
    if factory is None or arguments is None:
        raise ValueError(
            f"{record.target} cannot be built from a record. Only networks from {' and '.join(ALLOWED)} with "
            "plain arguments can. Add the configuration that was used for training: --overlay FILE."
        )
    refuse_expressions(arguments, "network")
    arguments = {name: False if name == "pretrained" else value for name, value in arguments.items()}
    try:
        with _MemoryBudget(limit_bytes):
            network = factory(**arguments)
    except Exception as cause:
        raise ValueError(
            f"{record.target} cannot be built with {_shortened(arguments)} ({_shortened(cause)})."
        ) from cause
    if not isinstance(network, nn.Module):
        raise ValueError(f"{record.target} does not build a network.")
    return network


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _memory_limit(record: Path | None) -> float:
    """Bytes that a recorded network may take: several times the largest file beside the record, such as its weights."""
    if record is None:
        return math.inf
    return 2**26 + 8 * max(path.stat().st_size for path in record.parent.iterdir() if path.is_file())


class _MemoryBudget(TorchDispatchMode):
    """Refuse to create tensors beyond a number of bytes, before they are allocated."""

    def __init__(self, limit_bytes: float) -> None:
        super().__init__()
        self.left = limit_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = args[0] if args else None
        if isinstance(size, list | tuple) and all(isinstance(side, int) for side in size):
            self.left -= max(4096, 4 * math.prod(size))  # a module's Python objects cost memory, too
            if self.left < 0:
                raise ValueError("it takes far more memory than its weights")
        return func(*args, **(kwargs or {}))


def _factory(target: str) -> Any:
    """A network class or one of this bundle's network functions; None for everything else."""
    package, _, name = target.rpartition(".")
    if package not in ALLOWED or name.startswith("_"):
        return None
    module = importlib.import_module(package)
    found = getattr(module, name, None)
    if inspect.isclass(found) and issubclass(found, nn.Module) and found.__module__.startswith(f"{package}."):
        return found
    own = inspect.isfunction(found) and package == "i2net_bundle.networks" and name in module.__all__
    return found if own and found.__module__.startswith(package) else None
