"""Inference of a CT volume from file to file: what is not the network, and what the network takes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from torch import Tensor, nn

from benchmarks.cases import OURS, network
from benchmarks.loader import make_volumes
from benchmarks.measuring import UNIT, Setting, Table, alternating
from i2net_bundle.bundle import bundle_root

TITLE = "Inference of a volume"


class NoNetwork(nn.Module):
    """Logits of the right shape at no cost, so that what is left is everything else."""

    def __init__(self, classes: int = 9) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.classes = classes

    def forward(self, image: Tensor) -> Tensor:
        """Thresholds of the image (B, 1, H, W) as logits (B, classes, H, W)."""
        return image.expand(-1, self.classes, -1, -1)


def _predict(folder: Path, out: Path, weights: Path) -> None:
    workflow = ConfigWorkflow(
        str(bundle_root() / "configs" / "inference.json"),
        workflow_type="inference",
        logging_file=False,
        dataset_dir=str(folder),
        output_dir=str(out),
        weights=str(weights),
        overwrite=True,
        device="cpu",
        network_def={"_target_": "benchmarks.volumes.NoNetwork"},
    )
    workflow.initialize()
    workflow.run()


def run(setting: Setting) -> list[Table]:
    """File to file without a network, and a batch of slices through the network, in the same rounds."""
    folder = setting.work_dir / "volume"
    shape = (64, 64, 8) if setting.quick else (512, 512, 150)
    make_volumes(folder, 1, shape)
    images = folder / "images"
    images.mkdir(exist_ok=True)
    shutil.copyfile(folder / "000_image.nii.gz", images / "ct.nii.gz")
    weights = setting.work_dir / "no_network.pt"
    torch.save(NoNetwork().state_dict(), weights)
    net = network(OURS, "Synapse").eval().to(memory_format=torch.channels_last)
    batch = torch.randn(2 if setting.quick else 6, 1, 224, 224)

    def through_network() -> None:
        with torch.no_grad():
            net(batch)

    functions = {
        "rest": lambda: _predict(images, setting.work_dir / "masks", weights),
        "network": through_network,
        "unpack": lambda: np.asarray(nib.load(images / "ct.nii.gz").dataobj),
    }
    started = time.perf_counter()
    seconds = alternating(functions, setting.rounds, "volume, file to file")
    unit, whole = seconds[UNIT], seconds["network"] * shape[2] / len(batch)
    rows = [
        ["all that is not the network", f"{seconds['rest']:.1f}", f"{seconds['rest'] / unit:.2f}"],
        ["of which decompressing the file", f"{seconds['unpack']:.1f}", f"{seconds['unpack'] / unit:.2f}"],
        ["the network, from a batch of slices", f"{whole:.1f}", f"{whole / unit:.2f}"],
    ]
    note = (
        "The bundle's own inference workflow, checks of the file and writing of the mask included, with a network that "
        f"costs nothing; measured within {time.perf_counter() - started:.0f} s."
    )
    return [Table(f"CT of {'×'.join(map(str, shape))} voxels, file to file", ["part", "s", "U"], rows, note)]
