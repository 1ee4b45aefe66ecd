"""Inference of one image: the network alone, beside its plain form and MONAI's networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.cases import OURS, PEERS, PLAIN, TASKS, images, network
from benchmarks.measuring import UNIT, Setting, Table, alternating
from i2net_bundle.hardware import multiplies_bfloat16
from i2net_bundle.networks.placement import for_inference
from i2net_bundle.prediction.inferers import in_bfloat16

TITLE = "Inference of an image"
COMPILED, BFLOAT16 = f"{OURS}, compiled", f"{OURS}, bfloat16"


@torch.no_grad()
def run(setting: Setting) -> list[Table]:
    """One table per task."""
    return [_networks(setting, task, setting.size(TASKS[task][2])) for task in TASKS]


def _networks(setting: Setting, task: str, side: int) -> Table:
    image = images(task, 1, side)
    peers = list(PEERS)[:1] if setting.quick else list(PEERS)
    networks = {name: for_inference(network(name, task).eval(), "cpu") for name in (OURS, *peers)}
    networks[PLAIN] = for_inference(network(PLAIN, task).eval(), "cpu", fast=False)
    functions: dict[str, Callable[[], Tensor]] = {
        name: (lambda net=networks[name]: net(image)) for name in (OURS, PLAIN, *peers)
    }
    note = "Evaluation in float32 unless stated otherwise; channels-last."
    if multiplies_bfloat16("cpu"):
        functions[BFLOAT16] = lambda: in_bfloat16(networks[OURS])(image)
    if not setting.quick:
        compiled = for_inference(network(OURS, task).eval(), "cpu", compile=True)
        try:
            compiled(image)
            functions[COMPILED] = lambda: compiled(image)
        except Exception as error:  # torch.compile needs a C++ compiler; the rest goes on without it
            note += f" torch.compile does not run here ({type(error).__name__})."
    seconds = alternating(functions, 2 * setting.rounds + 1, f"{task}, one image")
    rows = [
        [
            name,
            f"{1e3 * seconds[name]:.0f}",
            f"{1e3 * seconds[name] / seconds[UNIT]:.1f}",
            f"{seconds[PLAIN] / seconds[name]:.2f}",
        ]
        for name in functions
    ]
    header = ["network", "ms", "U/1000", "speed relative to the plain form"]
    return Table(f"{task}, 1×{side}²", header, rows, note)
