"""Weights from files: a whole network, all that fits of another one, or the encoder's pretrained part."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

logger = logging.getLogger("i2net.weights")

_NETWORK_REMEDY = "Train first (training writes model.pt into its output_dir) and name the file with --weights."
_ENCODER_REMEDY = "encoder_weights takes a path or 'imagenet'."
_WRAPPERS = ("network", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "network.")


def load_network(network: nn.Module, path: str | Path) -> None:
    """Fill a network; every parameter must be in the file.

    Args:
        network: the network.
        path: a state dict, or a checkpoint that holds one, see `read_state`.

    Raises:
        FileNotFoundError: there is no such file; says where weights come from.
        ValueError: the file's parameters are not the network's; names the first that differ.
    """
    _fill(network, read_state(network, path), path)


def load_matching(network: nn.Module, path: str | Path) -> list[str]:
    """Fill what a file fits of a network, by name and shape; the other parameters keep their values.

    So a network starts from weights of other classes or channels: its last layer, or its first one, stays as it is.

    Args:
        network: the network.
        path: a state dict, or a checkpoint that holds one, see `read_state`.

    Returns:
        names of the network's parameters and buffers that the file does not fit, which the log names too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no parameter of the file fits.
    """
    own, state = network.state_dict(), read_state(network, path)
    taken = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    kind = type(network).__name__
    if not any(value.is_floating_point() for value in taken.values()):
        raise ValueError(
            f"{path} fits no parameter of this {kind}: none has the same name and shape. Its first is "
            f"{next(iter(state), 'missing')}, the network's is {next(iter(own), 'missing')}. Name weights of the same "
            "kind of network with init_weights, or none."
        )
    _require_finite(taken, path)
    network.load_state_dict(taken, strict=False)
    left = [name for name in own if name not in taken and not name.endswith("num_batches_tracked")]
    logger.info(f"{kind}: {len(taken)} of {len(own)} tensors from {path}")
    if left:
        shown = ", ".join(left[:10]) + (f" and {len(left) - 10} more" if len(left) > 10 else "")
        logger.warning(f"{kind}: {len(left)} tensors do not fit {path} and keep their random weights: {shown}")
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
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except OSError as error:
        raise ConnectionError(
            f"Cannot download {url} ({error}). Fetch it elsewhere and give its path as encoder_weights."
        ) from error


def read_state(network: nn.Module, path: str | Path) -> dict[str, Any]:
    """State dict of a file, with the names that the network gives to its parameters.

    A state dict under "network", "state_dict" or "model" is unwrapped, and prefixes that wrappers leave ("module." of
    DataParallel, "_orig_mod." of torch.compile, "network.") are removed where the network's own names lack them.

    Args:
        network: the network that the names are compared with.
        path: the file.

    Raises:
        FileNotFoundError: there is no such file; says where weights come from.
        ValueError: the file holds no state dict, or cannot be read safely.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}. {_NETWORK_REMEDY}")
    state = _read_state(path, _NETWORK_REMEDY)
    own = network.state_dict().keys()
    while own.isdisjoint(state):
        prefix = next((text for text in _PREFIXES if state and all(name.startswith(text) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _read_state(path: Path, remedy: str) -> dict[str, Any]:
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        problem = f"is not a file of weights that can be read safely: it is {_what_it_is(path)}"
        raise ValueError(f"{path} {problem}. {remedy}") from error
    for key in _WRAPPERS:
        if isinstance(contents, dict) and isinstance(contents.get(key), dict):
            contents = contents[key]
    if not isinstance(contents, dict) or not all(isinstance(value, torch.Tensor) for value in contents.values()):
        raise ValueError(f"{path} holds no state dict (parameter names and tensors). {remedy}")
    return contents


def _what_it_is(path: Path) -> str:
    """A file that PyTorch does not read, in words."""
    with path.open("rb") as file:
        start = file.read(32)
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, which was not fetched"
    if start.lstrip()[:1] == b"<":
        return "a web page"
    if not start.startswith(b"PK"):
        return f"of another kind, it starts with {start!r}"
    return "one that holds more than tensors" if zipfile.is_zipfile(path) else "truncated or damaged"


def _fill(module: nn.Module, state: dict[str, Any], source: str | Path) -> None:
    own = module.state_dict()
    # files older than this counter of batch normalisation lack it, and nothing here uses it
    state = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")} | state
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is not known" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the network's {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ValueError(
            f"{source} does not fit this {type(module).__name__}: {shown}. Use the network, task, classes and channels "
            "that the weights were trained with."
        )
    _require_finite(state, source)
    module.load_state_dict(state)
    logger.info(f"{type(module).__name__}: weights from {source}")


def _require_finite(state: dict[str, Any], source: str | Path) -> None:
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(f"{source} holds NaN or infinity in {len(broken)} tensors, the first is {broken[0]}.")
