"""The networks of the paper's Table 1: a training step and a prediction of each, measured in one alternating run."""

from __future__ import annotations

import torch

from benchmarks.cases import OURS, TASKS, TRUNKS, images, network, training_step
from benchmarks.measuring import UNIT, Setting, Table, alternating
from i2net_bundle.networks.peers.network import NAMES as DECODERS
from i2net_bundle.networks.placement import for_inference

TITLE = "Ways of aligning features (Table 1)"


def run(setting: Setting) -> list[Table]:
    """One table per task."""
    return [_networks(setting, task, setting.size(TASKS[task][2])) for task in TASKS]


def _networks(setting: Setting, task: str, side: int) -> Table:
    names = (OURS, *(DECODERS[:1] if setting.quick else DECODERS))
    image = images(task, 1, side)
    built = {name: for_inference(network(name, task).eval(), "cpu") for name in names}

    def prediction(name: str) -> None:
        with torch.inference_mode():
            built[name](image)

    functions = {("step", name): training_step(name, task, 1, side) for name in names}
    functions |= {("prediction", name): (lambda name=name: prediction(name)) for name in names}
    seconds = alternating({" ".join(key): function for key, function in functions.items()}, setting.rounds, task)
    rows = []
    for name in names:
        row = [name]
        for kind in ("step", "prediction"):
            own, ours = seconds[f"{kind} {name}"], seconds[f"{kind} {OURS}"]
            row += [f"{1e3 * own:.0f}", f"{1e3 * own / seconds[UNIT]:.1f}", f"{own / ours:.2f}"]
        rows.append(row)
    header = ["decoder", "step, ms", "U/1000", "step / I²Net's", "prediction, ms", "U/1000", "prediction / I²Net's"]
    note = (
        f"All on the trunk {TRUNKS[task]}, K 3, float32. Training steps without the optimiser: I²Net's with all its "
        "losses, the others' with the segmentation loss alone."
    )
    return Table(f"{task}, 1×{side}²", header, rows, note)
