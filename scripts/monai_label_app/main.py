"""MONAI Label's monaibundle sample app with the fast network, and the least certain image as the next one.

``monai_label.py`` copies this file into the app folder that it serves. The stock app computes entropy over dropout from
masks of class indices; this one computes the entropy of the class probabilities.
"""

from __future__ import annotations

import logging
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.epistemic import Epistemic
from monailabel.tasks.infer.bundle import BundleConstants, BundleInferTask
from torch import Tensor

logger = logging.getLogger(__name__)

_SAMPLE_APP = Path(sys.prefix, "monailabel", "sample-apps", "monaibundle", "main.py")
_MonaiBundleApp: Any = runpy.run_path(str(_SAMPLE_APP))["MyApp"]


class FastNetwork(BundleConstants):
    """Takes the configuration's ``network``, which is fast on its device; the stock app takes ``network_def``."""

    def key_network_def(self) -> str:
        """Id of the network to serve."""
        return "network"


class I2NetApp(_MonaiBundleApp, MONAILabelApp):  # MONAI Label looks for its own class among the direct bases
    """The sample app, with a score and a strategy ``entropy_NAME`` for every bundle NAME.

    ``--conf entropy_max_images N`` bounds how many images one run of the score takes (default 16).
    """

    def init_infers(self) -> dict[str, InferTask]:
        """A task for every bundle."""
        return {name: BundleInferTask(path, self.conf, const=FastNetwork()) for name, path in self.models.items()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """The sample app's, and the entropy of every bundle."""
        limit = int(self.conf.get("entropy_max_images", "16"))
        methods: dict[str, ScoringMethod] = super().init_scoring_methods()
        for name, path in self.models.items():
            task = EntropyTask(path, self.conf, const=FastNetwork(), skip_writer=True)
            methods[_key(name)] = EntropyScoring(task, _key(name), limit)
        return methods

    def init_strategies(self) -> dict[str, Strategy]:
        """The sample app's, and the highest entropy first; every image is handed out once."""
        strategies: dict[str, Strategy] = super().init_strategies()
        for name in self.models:
            strategies[_key(name)] = Epistemic(key=_key(name), desc=f"Highest entropy of {name}'s class probabilities")
        return strategies


class EntropyScoring(ScoringMethod):
    """Mean entropy of the class probabilities of every image that has no final label, kept with the image.

    Args:
        task: what computes it.
        key: name of the score; ``<key>_weights`` keeps of which weights, by their time, it is.
        limit: images per run; those without a score first, then the oldest scores. 0 takes all.
    """

    def __init__(self, task: EntropyTask, key: str, limit: int) -> None:
        super().__init__(f"Mean entropy of the class probabilities - {task.description}")
        self.task, self.key, self.limit = task, key, limit

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, int]:
        """Score the images whose score is not of the present weights."""
        weights = Path(self.task.get_path()).stat().st_mtime
        of_weights = {
            image: datastore.get_image_info(image).get(f"{self.key}_weights", 0)
            for image in datastore.get_unlabeled_images()
        }
        due = sorted((image for image in of_weights if of_weights[image] != weights), key=of_weights.__getitem__)
        due = due[: int(request.get("max_images", self.limit)) or None]
        failed = 0
        for image in due:
            try:
                _, data = self.task({"image": datastore.get_image_uri(image), **_device(request)})
            except Exception:  # an image that cannot be read must not keep the others from their score
                logger.exception(f"{image} has no score")
                failed += 1
                continue
            datastore.update_image_info(image, {self.key: data["entropy"], f"{self.key}_weights": weights})
            logger.info(f"{image}: entropy {data['entropy']:.4f}")
        self.task.clear_cache()
        return {"unlabeled": len(of_weights), "scored": len(due) - failed, "failed": failed}


class EntropyTask(BundleInferTask):
    """A bundle's inference that ends with the entropy of its probabilities under "entropy"."""

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "cuda") -> dict[str, Any]:
        """Run the bundle's inferer and meter what the network gives it."""
        meter = EntropyMeter(self._get_network(device, data))
        with torch.no_grad():
            self.inferer(data)(data[self.input_key][None].to(device), meter)
        return {**data, "entropy": meter.mean()}

    def post_transforms(self, data: Any = None) -> list[Callable]:
        """There is no mask to bring back."""
        return []


class EntropyMeter:
    """A network that records how uncertain it is.

    Args:
        network: images (B, C, H, W) to logits (B, classes, H, W); one channel stands for a sigmoid.
    """

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        self.network, self.total, self.pixels = network, 0.0, 0

    def __call__(self, images: Tensor) -> Tensor:
        """Return the network's logits."""
        logits = self.network(images)
        both = torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits
        log_probabilities = both.double().log_softmax(dim=1)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=1) / math.log(both.shape[1])  # (B, H, W)
        self.total += float(entropy.sum())
        self.pixels += entropy.numel()
        return logits

    def mean(self) -> float:
        """Mean over all pixels so far, from 0 (sure) to 1 (all classes equally likely)."""
        return self.total / self.pixels


def _key(name: str) -> str:
    return f"entropy_{name}"


def _device(request: dict[str, Any]) -> dict[str, Any]:
    return {"device": request["device"]} if "device" in request else {}
