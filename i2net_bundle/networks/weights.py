"""Weights from files: a whole network, strictly, or the encoder's pretrained part."""

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
_HEAD = "head.conv.weight"


def load_network(network: nn.Module, path: str | Path) -> None:
    """Fill a network, every parameter of it.

    Args:
        network: the network.
        path: a state dict, or a checkpoint that holds one under "network".

    Raises:
        FileNotFoundError: there is no such file; says where weights come from.
        ValueError: the file's classes or parameters are not the network's; names the first that differ.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weights at {path}. {_NETWORK_REMEDY}")
    state = _read_state(path, _NETWORK_REMEDY)
    own = network.state_dict()
    if _HEAD in state and _HEAD in own and len(state[_HEAD]) != len(own[_HEAD]):
        found, wanted = (max(2, len(head)) for head in (state[_HEAD], own[_HEAD]))  # one channel tells two apart
        raise ValueError(
            f"{path} does not fit this {type(network).__name__}: it tells {found} classes apart and the task has "
            f"{wanted}, background included. Name the task that it was trained for, or other weights. {_NETWORK_REMEDY}"
        )
    _fill(network, state, path)


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


def _read_state(path: Path, remedy: str) -> dict[str, Any]:
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        problem = f"is not a file of weights that can be read safely: it is {_what_it_is(path)}"
        raise ValueError(f"{path} {problem}. {remedy}") from error
    state = contents.get("network", contents) if isinstance(contents, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict (parameter names and tensors). {remedy}")
    return state


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
    # files older than that counter of batch normalisation lack it, and nothing here uses it
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
            f"{source} does not fit this {type(module).__name__}: {shown}. Check num_learners and the task."
        )
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(f"{source} holds NaN or infinity in {len(broken)} tensors, the first is {broken[0]}.")
    module.load_state_dict(state)
    logger.info(f"{type(module).__name__}: weights from {source}")
