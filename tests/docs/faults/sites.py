"""Faults of federations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from i2net_bundle.federation.common_settings import check_sites
from i2net_bundle.federation.global_weights import as_saved, joined_record
from i2net_bundle.federation.simulation import simulate
from i2net_bundle.tasks import TASKS
from i2net_bundle.workflow.run_records import RunRecord
from scripts import federated
from tests.docs.faults.table import Make, Printed, refused
from tests.federation.test_common_settings import data_list


def without_nvflare(folder: Path) -> Printed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "nvflare.job_config.api", None)  # as if it could not be imported
        return refused(lambda: simulate({}, [], folder / "model.pt", folder / "out", 1, 1))


def two_sites(**changes: Any) -> Make:
    """Two sites, the second of which differs by these changes."""

    def make(folder: Path) -> Printed:
        sites = {"site-1": data_list(folder / "a"), "site-2": data_list(folder / "b", **changes)}
        test = data_list(folder / "test")
        return refused(lambda: check_sites(sites, test, TASKS["ct"]))

    return make


def one_site(folder: Path) -> Printed:
    sites = {"site-1": data_list(folder / "a")}
    return refused(lambda: check_sites(sites, data_list(folder / "test"), TASKS["ct"]))


def other_network(folder: Path) -> Printed:
    given, own = {"head.weight": torch.zeros(3)}, {"head.weight": torch.zeros(9)}
    return refused(lambda: as_saved(given, own))


def other_settings(folder: Path) -> Printed:
    return refused(lambda: joined_record([RunRecord(training={"batch_size": size}) for size in (8, 4)]))


def command(*words: str) -> Make:
    """The command line in a folder where `out` exists."""

    def make(folder: Path) -> Printed:
        (folder / "out").mkdir()
        return refused(lambda: federated.run(federated.parse(words)))

    return make


FAULTS: dict[str, Make] = {
    "NVFlare not installed": without_nvflare,
    "site without training data": two_sites(training=[]),
    "sites with other classes": two_sites(labels={"0": "background", "1": "spleen", "2": "liver"}),
    "sites with other channels": two_sites(channel_names={"0": "T2"}),
    "one site": one_site,
    "own sites without a test set": command("new", "--site", "a=data/a"),
    "output folder that exists": command("out"),
    "overlay that does not exist": command("new", "--overlay", "small.yaml"),
    "weights of another network": other_network,
    "sites that trained with other settings": other_settings,
}
