"""Parameter names of the golden files translated to this package's."""

from __future__ import annotations

import re

import torch

_LEVELS = {"enc1": 0, "enc2": 1, "enc3": 2, "head": 3}


def translate(state: dict[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """Golden names below ``prefix`` to names of an `I2Net`; learners are stacked along a new first axis."""
    translated: dict[str, torch.Tensor] = {}
    learners: dict[str, dict[int, torch.Tensor]] = {}
    for key, value in state.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix).removeprefix("decoder.")
        if match := re.fullmatch(r"(enc[123]|head)\.(\d)\.(\w+)", name):
            translated[f"neck.projections.{_LEVELS[match[1]]}.{match[2]}.{match[3]}"] = value
        elif match := re.fullmatch(r"ifa\.imnet\.I2Layers\.(\d)\.learners\.(\d)\.(\w+)", name):
            learners.setdefault(f"decoder.layers.{match[1]}.{match[3]}", {})[int(match[2])] = value
        elif match := re.fullmatch(r"ifa\.imnet\.I2Layers\.(\d)\.norm_layer\.(\w+)", name):
            translated[f"decoder.layers.{match[1]}.norm_act.0.{match[2]}"] = value
        elif match := re.fullmatch(r"ifa\.imnet\.gate_net\.(\d)\.(\w+)", name):
            is_convolution = value.ndim == 3
            translated[f"decoder.gate_net.{match[1]}.{match[2]}"] = value.squeeze(2) if is_convolution else value
        elif match := re.fullmatch(r"outc\.conv\.(\w+)", name):
            translated[f"head.conv.{match[1]}"] = value
        elif not name.startswith("feature"):
            raise KeyError(f"golden name {key} is not known")
    for name, per_learner in learners.items():
        translated[name] = torch.stack([per_learner[k] for k in sorted(per_learner)])
    return translated
