"""Run by the server's Python: a bundle's logits and labels in MONAI Label's task and in ``monai.bundle run``.

logits_both_ways.py BUNDLE IMAGE_FOLDER OUT.npz
"""

import sys
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigWorkflow


class Watched(torch.nn.Module):
    """A network whose logits are kept."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.logits = network, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.logits.append(self.network(images))
        return self.logits[-1]


def main(bundle: Path, images: Path, out: Path) -> None:
    from monailabel.tasks.infer.bundle import (
        BundleInferTask,
    )  # is not in the suite's environment, which imports this too

    (image,) = images.iterdir()
    task = BundleInferTask(str(bundle), {}, skip_writer=True)
    served = Watched(task._get_network("cpu", None))
    task._get_network = lambda *_: served
    _, reply = task({"image": str(image), "device": "cpu"})

    sys.path.insert(0, str(bundle))
    masks = str(out.with_suffix(""))
    overrides = {"bundle_root": str(bundle), "dataset_dir": str(images), "output_dir": masks, "device": "cpu"}
    workflow = ConfigWorkflow(str(bundle / "configs" / "inference.json"), workflow_type="infer", **overrides)
    workflow.initialize()
    ran = Watched(workflow.evaluator.network)
    workflow.evaluator.network = ran
    workflow.run()
    label = np.asarray(workflow.evaluator.state.output[0]["pred"])
    np.savez(
        out,
        served_logits=torch.cat(served.logits).detach().numpy(),
        ran_logits=torch.cat(ran.logits).detach().numpy(),
        served_label=np.asarray(reply["pred"]),
        ran_label=label,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
