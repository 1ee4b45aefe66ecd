"""Inference of a CT volume from file to file: the network, and everything else."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from monai.utils import convert_to_tensor
from torch import Tensor, nn

from benchmarks.cases import OURS, network
from benchmarks.loader import make_volumes
from benchmarks.measuring import UNIT, Setting, Table, alternating, in_own_process, peak_extra_mb
from i2net_bundle.hardware import slices_at_a_time
from i2net_bundle.io.masks import write_mask
from i2net_bundle.networks.placement import for_inference
from i2net_bundle.prediction.inferers import classify
from i2net_bundle.transforms import volume_preprocessing
from i2net_bundle.transforms.resizing import resize_images, resize_labels
from i2net_bundle.workflow.config_files import bundle_root

TITLE = "Inference of a volume"


class NoNetwork(nn.Module):
    """Logits of the right shape at no cost, to measure everything but the network."""

    def __init__(self, classes: int = 9) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.classes = classes

    def forward(self, image: Tensor) -> Tensor:
        """Thresholds of the image (B, 1, H, W) as logits (B, classes, H, W)."""
        return image.expand(-1, self.classes, -1, -1)


def _predict(folder: Path, out: Path, weights: Path, seen_before: bool = True) -> None:
    """Run the inference workflow; a file that passed its check is not checked again while the cache folder stays."""
    cache = out.with_name("cache") if seen_before else Path(tempfile.mkdtemp(dir=out.parent))
    os.environ["XDG_CACHE_HOME"] = str(cache)
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


class Stages:
    """The stages of inference of one CT file; each works on the result of the one before.

    Args:
        path: the CT.
        mask: where its mask is written.
    """

    def __init__(self, path: Path, mask: Path) -> None:
        self.path, self.mask = path, mask
        self.load, *rest = volume_preprocessing().transforms
        self.prepare = Compose(rest)
        self.network = for_inference(network(OURS, "Synapse").eval(), "cpu")
        self.values: list[Any] = [{"image": str(path)}]

    def up_to(self, index: int) -> None:
        """Compute the input of stage ``index``; for stages on slices, one batch of them."""
        for stage in list(STAGES.values())[len(self.values) - 1 : index]:
            with torch.no_grad():
                self.values.append(stage(self))

    def slices(self) -> Iterator[Tensor]:
        """Batches of axial slices (N, 1, H, W), as the inferer cuts them."""
        volume = convert_to_tensor(self.values[2]["image"], track_meta=False)
        for chunk in volume.split(slices_at_a_time(volume.device), dim=-1):
            yield chunk.permute(3, 0, 1, 2)

    def resize(self) -> list[Tensor]:
        """Slices at the network's size."""
        return [resize_images(chunk, (224, 224)) for chunk in self.slices()]

    def infer(self) -> Tensor:
        """Logits of one batch of slices."""
        logits: Tensor = self.network(self.values[3][0])
        return logits

    def restore(self) -> list[Tensor]:
        """Classes at the volume's own size, each batch's from the logits of the first."""
        size = self.values[2]["image"].shape[1:3]
        return [resize_labels(classify(self.values[4][: len(chunk)]), size) for chunk in self.values[3]]

    def write(self) -> None:
        """The mask in the file's own grid."""
        mask = torch.cat(self.values[5]).permute(1, 2, 3, 0)
        pred = MetaTensor(mask, meta=dict(self.values[2]["image"].meta))
        back = Invertd("pred", self.prepare, orig_keys="image", nearest_interp=True)({**self.values[2], "pred": pred})
        write_mask(np.asarray(back["pred"])[0], self.path, self.mask, overwrite=True)


STAGES: dict[str, Callable[[Stages], Any]] = {
    "read and check": lambda stages: stages.load(stages.values[0]),
    "orientation and window": lambda stages: stages.prepare(stages.values[1]),
    "slices to 224²": Stages.resize,
    "network": Stages.infer,
    "classes to the volume's size": Stages.restore,
    "inversion and writing": Stages.write,
}


def stage_peak(index: int, path: Path, mask: Path) -> float:
    """Peak extra memory of one stage, in MB."""
    stages = Stages(path, mask)
    stages.up_to(index)
    with torch.no_grad():
        return peak_extra_mb(lambda: list(STAGES.values())[index](stages))


def run(setting: Setting) -> list[Table]:
    """File to file without a network, and stage by stage, in the same rounds."""
    folder = setting.work_dir / "volume"
    shape = (64, 64, 8) if setting.quick else (512, 512, 150)
    make_volumes(folder, 1, shape)
    images = folder / "images"
    images.mkdir(exist_ok=True)
    path, mask = images / "ct.nii.gz", setting.work_dir / "stage_mask.nii.gz"
    shutil.copyfile(folder / "000_image.nii.gz", path)
    weights = setting.work_dir / "no_network.pt"
    torch.save(NoNetwork().state_dict(), weights)
    stages = Stages(path, mask)
    stages.up_to(len(STAGES))
    out = setting.work_dir / "masks"
    functions = {
        "first": lambda: _predict(images, out, weights, seen_before=False),
        "rest": lambda: _predict(images, out, weights),
        "unpack": lambda: np.asarray(nib.load(path).dataobj),
        **{name: lambda stage=stage: stage(stages) for name, stage in STAGES.items()},
    }
    started = time.perf_counter()
    with torch.no_grad():
        seconds = alternating(functions, setting.rounds, "volume, file to file")
    unit = seconds[UNIT]
    seconds["network"] *= shape[2] / len(stages.values[3][0])
    whole = [
        ["everything but the network, new file", "first"],
        ["the same, file already checked", "rest"],
        ["of which decompressing the file", "unpack"],
    ]
    rows = [[what, f"{seconds[name]:.2f}", f"{seconds[name] / unit:.2f}", ""] for what, name in whole]
    for index, name in enumerate(STAGES):
        memory = in_own_process(stage_peak, index, path, mask)
        rows.append([f"stage: {name}", f"{seconds[name]:.2f}", f"{seconds[name] / unit:.2f}", f"{memory:.0f}"])
    note = (
        "First the bundle's own inference workflow, including the file's checks and writing the mask, with a network "
        "that costs nothing. Then each stage alone; the network's time is extrapolated from one batch of slices. Extra "
        f"memory is the stage's peak minus its start. Measured within {time.perf_counter() - started:.0f} s."
    )
    title = f"CT of {'×'.join(map(str, shape))} voxels, file to file"
    return [Table(title, ["part", "s", "U", "extra memory, MB"], rows, note)]
