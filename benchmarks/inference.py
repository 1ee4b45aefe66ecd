"""Inference of one image: the network alone, beside its plain form and MONAI's networks."""

from __future__ import annotations

import torch

from benchmarks.cases import OURS, PEERS, PLAIN, TASKS, images, network
from benchmarks.measuring import UNIT, Setting, Table, alternating

TITLE = "Inference of an image"
COMPILED = f"{OURS}, torch.compile"


@torch.no_grad()
def run(setting: Setting) -> list[Table]:
    """One table per task."""
    return [_networks(setting, task, setting.size(TASKS[task][2])) for task in TASKS]


def _networks(setting: Setting, task: str, side: int) -> Table:
    image = images(task, 1, side)
    names = [OURS, PLAIN, *(list(PEERS)[:1] if setting.quick else PEERS)]
    networks = {name: network(name, task).eval() for name in names}
    networks[f"{OURS}, channels-last"] = network(OURS, task).eval().to(memory_format=torch.channels_last)
    if not setting.quick:
        networks[COMPILED] = torch.compile(network(OURS, task).eval())  # type: ignore[assignment]
    functions = {name: (lambda net=net: net(image)) for name, net in networks.items()}
    note = "Evaluation in float32; the bundle's configurations run the network channels-last."
    try:
        networks.get(COMPILED, networks[OURS])(image)
    except Exception as error:  # torch.compile needs a C++ compiler, and must not stop the rest
        functions.pop(COMPILED, None)
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
    header = ["network", "ms", "U/1000", "plain form's time over this"]
    return Table(f"{task}, 1×{side}²", header, rows, note)
