"""Federated averaging in NVFlare's simulator: the server and every site in processes of their own, on one machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from i2net_bundle.io.json_files import write_json

JOB = "federation"
SAVED_NAME = "FL_global_model.pt"
"""File of the last global weights, as NVFlare's server saves them."""


def simulate(
    sites: Mapping[str, Path], files: Sequence[str], initial: Path, out: Path, rounds: int, epochs: int
) -> Path:
    """Average the weights of all sites over some rounds.

    A site's share is its number of training slices or images. Averaged are all tensors of the network's state dict,
    the statistics of batch normalization included. A site's run is written to ``out/SITE``, the files of NVFlare to
    ``out/nvflare``.

    Args:
        sites: folder of each site's data list by the site's name.
        files: paths of the configurations of training.
        initial: weights to start from.
        out: output folder.
        rounds: number of rounds.
        epochs: epochs of every site in a round.

    Returns:
        path of the last global weights, see `collect_weights`.

    Raises:
        ImportError: NVFlare is not installed.
        RuntimeError: the federation failed.
    """
    try:
        from nvflare.app_common.executors.client_api_executor import ClientAPIExecutor
        from nvflare.app_common.workflows.fedavg import FedAvg
        from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
        from nvflare.client.config import ExchangeFormat
        from nvflare.job_config.api import FedJob
        from nvflare.recipe import SimEnv
    except ImportError as cause:
        raise ImportError("A federation needs NVFlare: pip install 'i2net-bundle[federated]'.") from cause

    job = FedJob(name=JOB, min_clients=len(sites))
    start = PTFileModelPersistor(
        source_ckpt_file_full_name=str(initial.resolve()), global_model_file_name=SAVED_NAME, load_device="cpu"
    )
    job.to_server(start, id="persistor")
    job.to_server(FedAvg(num_clients=len(sites), num_rounds=rounds, persistor_id="persistor"))
    for name, data in sites.items():
        command = [sys.executable, "-m", "i2net_bundle.federation.federated_site"]
        command += [part for file in files for part in ("--config", file)]
        command += ["--dataset-dir", str(data.resolve()), "--output-dir", str((out / name).resolve())]
        command += ["--rounds", str(rounds), "--epochs", str(epochs)]
        # a process of its own: Python handles signals in main threads only
        executor = ClientAPIExecutor(
            execution_mode="external_process",
            command=command,
            params_exchange_format=ExchangeFormat.PYTORCH,
            server_expected_format=ExchangeFormat.PYTORCH,
        )
        job.to(executor, name, tasks=["train"])
    workspace = (out / "nvflare").resolve()
    used = [f"{item.__module__}.{item.__name__}" for item in (ClientAPIExecutor, FedAvg, PTFileModelPersistor)]
    policy = workspace / JOB / "local" / "resources.json"
    policy.parent.mkdir(parents=True)
    write_json(policy, {"format_version": 2, "class_allow_list": used})  # NVFlare's default list lacks two of them
    SimEnv(clients=list(sites), workspace_root=str(workspace)).deploy(job)
    saved = next(workspace.rglob(SAVED_NAME), None)
    if saved is None:
        raise RuntimeError(f"The federation ended without weights. The files log.txt in {workspace} name the cause.")
    return saved
