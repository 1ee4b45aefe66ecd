"""Load weights from files: a whole network, all that fits of another one, or the encoder's pretrained part."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from i2net_bundle.io.counted import counted
from i2net_bundle.io.printable import printable
from i2net_bundle.io.writing import file_sha256
from i2net_bundle.networks.tensor_files import DamagedFileError, TensorFileError, load_tensors

logger = logging.getLogger("i2net.weights")

_NETWORK_REMEDY = "Train first (training writes model.pt to its output_dir), then pass the file with --weights."
_ENCODER_REMEDY = "encoder_weights takes a path or 'imagenet'."
_WRAPPERS = ("network", "state_dict", "model_state_dict", "model", "net", "weights")
"""Keys under which training programs save a state dict."""
_LONGEST_NAME = 1000
"""Characters of a parameter's name behind a prefix; longer names are not searched."""


def load_network(network: nn.Module, path: str | Path) -> None:
    """Fill a network with weights that include all of its parameters.

    Args:
        network: the network.
        path: a state dict, or a checkpoint that contains one, see `read_state`.

    Raises:
        FileNotFoundError: there is no such file; says where weights come from.
        ValueError: the file's parameters are not the network's; names the first that differ.
    """
    _fill(network, read_state(network, path), path)


def load_matching(network: nn.Module, path: str | Path) -> list[str]:
    """Fill the parameters of a network that a file fits by name and shape; the others keep their values.

    This starts a network from weights of other classes or channels: its last or first layer stays as it is.

    Args:
        network: the network.
        path: a state dict, or a checkpoint that contains one, see `read_state`.

    Returns:
        names of the network's parameters and buffers that the file does not fit; the log lists them too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no parameter of the file fits.
    """
    own, state = network.state_dict(), read_state(network, path)
    taken = {name: value for name, value in state.items() if name in own and not _misfit(value, own[name])}
    kind = type(network).__name__
    if not any(value.is_floating_point() for value in taken.values()):
        raise ValueError(
            f"{path} fits no parameter of this {kind}: none has the same name and shape. Its first is "
            f"{_name(next(iter(state)))}, the network's is {next(iter(own), 'missing')}. Pass weights of the same "
            "kind of network with init_weights, or none."
        )
    _require_finite(taken, path)
    network.load_state_dict(taken, strict=False)
    left = [name for name in own if name not in taken and not name.endswith("num_batches_tracked")]
    logger.info(f"{kind}: {len(taken)} of {len(own)} tensors from {path}")
    if left:
        logger.warning(
            f"{kind}: {counted(len(left), 'tensor')} not found in {path}, or of another shape, with random weights: "
            f"{_shown(left, 10)}"
        )
    return left


def load_encoder(encoder: nn.Module, source: str | Path) -> None:
    """Fill an encoder with pretrained weights; a classifier's own layer (``fc``) in the file is ignored.

    Args:
        encoder: the encoder.
        source: path of a state dict, or "imagenet" for the published file, downloaded once and checked by its hash.

    Raises:
        FileNotFoundError: there is no such file.
        ConnectionError: the published file cannot be downloaded.
        ValueError: no file is published for this encoder, or its parameters differ.
    """
    if source == "imagenet":
        state = _published(encoder)
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"No encoder weights at {path}; {_ENCODER_REMEDY}")
        state = _read_state(path, _ENCODER_REMEDY)
    _fill(encoder, {name: value for name, value in state.items() if not name.startswith("fc.")}, source)


def _published(encoder: nn.Module) -> dict[str, Any]:
    url = getattr(encoder, "imagenet_url", None)
    if url is None:
        raise ValueError(
            f"No ImageNet weights are published for this {type(encoder).__name__}; set encoder_weights to none."
        )
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if file.is_file() and not file_sha256(file).startswith(file.stem.rpartition("-")[2]):  # torch checks downloads only
        raise ValueError(f"{file} is damaged: it does not match the hash in its name. Remove it to download it again.")
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except OSError as error:
        raise ConnectionError(
            f"Cannot download {url} ({error}). Fetch it elsewhere and give its path as encoder_weights."
        ) from error


def read_state(network: nn.Module, path: str | Path) -> dict[str, Any]:
    """State dict of a file, with the names that the network gives to its parameters.

    A state dict under "network", "state_dict", "model" or the like is unwrapped. If its names are the network's own
    behind a prefix ("module." of DataParallel, "_orig_mod." of torch.compile, an attribute of a Lightning module), the
    prefix is removed, and entries without it, such as a loss function's, are left out.

    Args:
        network: the network that the names are compared with.
        path: the file.

    Raises:
        FileNotFoundError: there is no such file; says where weights come from.
        ValueError: the file contains no state dict, is damaged, cannot be read safely, or contains the network twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}. {_NETWORK_REMEDY}")
    state = _read_state(path, _NETWORK_REMEDY)
    own = network.state_dict().keys()
    return state if not own.isdisjoint(state) else _without_prefix(state, own, path)


def _without_prefix(state: dict[str, Any], own: Any, path: Path) -> dict[str, Any]:
    """Remove the prefix behind which a state dict has a network's own names."""
    matches = Counter(
        name[: -len(ending)]
        for name in state
        if len(name) <= _LONGEST_NAME
        for ending in (name[position + 1 :] for position, letter in enumerate(name) if letter == ".")
        if ending in own
    )
    most = max(matches.values(), default=0)
    found = [text for text, count in matches.items() if count == most]
    if not found or (most == 1 and len(found) > 1):  # single names may match by chance
        return state
    prefix, *others = found
    if others:
        raise ValueError(
            f"{path} contains weights of this network more than once, under {_shown([prefix, *others])}: save those "
            "that you want alone: torch.save(network.state_dict(), PATH)."
        )
    left = [name for name in state if not name.startswith(prefix)]
    if left:
        logger.warning(f"{path}: {counted(len(left), 'tensor')} outside '{_name(prefix)}' not used: {_shown(left)}")
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _read_state(path: Path, remedy: str) -> dict[str, Any]:
    refused = f"{path} is not a file of weights that can be read safely: it is"
    try:
        contents = load_tensors(path)
    except DamagedFileError as error:
        raise ValueError(f"{refused} {error}. Copy it again from where it was made, or use another file.") from None
    except TensorFileError as error:
        raise ValueError(f"{refused} {error}. {remedy}") from None
    found = contents
    while isinstance(found, Mapping) and (key := next((k for k in _WRAPPERS if _is_mapping(found.get(k))), None)):
        found = found[key]
    if not isinstance(found, dict) or not found or not all(_is_parameter(*item) for item in found.items()):
        listed = f"; it contains {_shown(list(contents))}" if isinstance(contents, Mapping) and contents else ""
        raise ValueError(f"{path} contains no state dict (parameter names and tensors){listed}. {remedy}")
    return found


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_parameter(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided


def _name(name: Any) -> str:
    """A name from a file, as a message shows it."""
    return printable(str(name)[:120])


def _shown(names: list[Any], most: int = 3) -> str:
    return ", ".join(map(_name, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _fill(module: nn.Module, state: dict[str, Any], source: str | Path) -> None:
    own = module.state_dict()
    # files older than this counter of batch normalisation lack it, and nothing here uses it
    state = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")} | state
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{_name(name)} is not known" for name in state if name not in own]
    problems += [f"{name} is {misfit}" for name in own if name in state and (misfit := _misfit(state[name], own[name]))]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ValueError(
            f"{source} does not fit this {type(module).__name__}: {shown}. Use the network, task, classes and channels "
            "that the weights were trained with."
        )
    _require_finite(state, source)
    module.load_state_dict(state)
    logger.info(f"{type(module).__name__}: weights from {source}")


def _misfit(value: torch.Tensor, own: torch.Tensor) -> str | None:
    """How a tensor differs from the network's in shape or kind; other precisions of floating point fit."""
    if value.shape != own.shape:
        return f"{tuple(value.shape)}, the network's {tuple(own.shape)}"
    if value.is_floating_point() != own.is_floating_point() or value.is_complex() != own.is_complex():
        return f"{value.dtype}, the network's {own.dtype}"
    return None


def _require_finite(state: dict[str, Any], source: str | Path) -> None:
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"{source} contains NaN or infinity in {counted(len(broken), 'tensor')}, the first is {broken[0]}."
        )
