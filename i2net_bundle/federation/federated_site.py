"""Train at one site of a federation. NVFlare starts ``python -m i2net_bundle.federation.federated_site`` at each site.

The training is that of `monai.fl.client.MonaiAlgo` with the bundle's own configurations. Weights are exchanged under
the names that they have in ``model.pt``. A site sends its weights and its number of training slices, and nothing
else.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from torch import Tensor

from i2net_bundle.federation.global_weights import as_saved, received_weights
from i2net_bundle.networks.tensor_files import save_tensors
from i2net_bundle.workflow.config_files import bundle_root

NETWORK = "network."
"""The network's prefix in `i2net_bundle.training.TrainingNetwork`, which MonaiAlgo trains."""


class Site:
    """One site: its data, and the bundle's training on them.

    The optimizer's state, the schedule of the learning rate and the epochs continue from round to round. The schedule
    is that of all rounds together. An auxiliary head is not exchanged.

    Args:
        name: the site's name, for the log.
        files: paths of the configurations, ``train.json`` first.
        dataset_dir: folder of the site's data list.
        output_dir: folder of the site's run; it also gets the global weights of every round.
        rounds: number of rounds.
        epochs: epochs per round.
    """

    def __init__(
        self, name: str, files: Sequence[str], dataset_dir: Path, output_dir: Path, rounds: int, epochs: int
    ) -> None:
        self.output_dir = output_dir
        run = {"dataset_dir": str(dataset_dir), "output_dir": str(output_dir), "epochs": rounds * epochs}
        start = {"init_weights": "none", "encoder_weights": "none"}  # weights come from the server
        self.algo = MonaiAlgo(
            bundle_root=str(bundle_root()),
            local_epochs=rounds * epochs,  # what the learning rate's schedule is made for
            send_weight_diff=False,
            config_train_filename=list(files),
            train_kwargs=run | start,
            config_evaluate_filename=None,
        )
        self.algo.initialize({ExtraItems.CLIENT_NAME: name})
        self.algo.local_epochs = epochs

    @property
    def num_slices(self) -> int:
        """Number of training slices: the site's share in the average."""
        trainer: Any = self.algo.trainer
        return len(trainer.data_loader.dataset)

    def train(self, weights: Mapping[str, Tensor], round_number: int) -> dict[str, Tensor]:
        """Train for one round.

        Args:
            weights: global weights, under the names that ``model.pt`` has.
            round_number: number of the round, from 0.

        Returns:
            the site's weights after the round, under the same names.
        """
        trainer: Any = self.algo.trainer
        received = as_saved(weights, trainer.network.network.state_dict())
        save_tensors(received, received_weights(self.output_dir, round_number))
        self.algo.train(ExchangeObject(weights={NETWORK + name: value for name, value in received.items()}))
        found = self.algo.get_weights().weights
        own = {name[len(NETWORK) :]: value for name, value in found.items() if name.startswith(NETWORK)}
        # copies, which NVFlare needs in the plain memory layout
        return {name: value.clone(memory_format=torch.contiguous_format) for name, value in own.items()}


def main() -> None:
    """Train whenever the server asks for it, until it ends the job."""
    import nvflare.client as flare
    from nvflare.apis.fl_constant import FLMetaKey

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", action="append", required=True, help="configuration file, in their order")
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True, help="epochs per round")
    arguments = parser.parse_args()
    flare.init()
    run = arguments.dataset_dir, arguments.output_dir, arguments.rounds, arguments.epochs
    site = Site(flare.get_site_name(), arguments.config, *run)
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        weights = site.train(model.params, model.current_round)
        flare.send(flare.FLModel(params=weights, meta={FLMetaKey.NUM_STEPS_CURRENT_ROUND: site.num_slices}))
    site.algo.finalize()


if __name__ == "__main__":
    main()
