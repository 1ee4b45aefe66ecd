"""Parameters and buffers of networks, saved, copied and compared."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

State = dict[str, torch.Tensor]


def save(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def assert_same_state(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def copy_state(module: nn.Module) -> State:
    return copy.deepcopy(dict(module.state_dict()))
