"""Averaged weights in the bundle's form, and the record that joins those of the sites."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from i2net_bundle.federation.global_weights import as_saved, joined_record
from i2net_bundle.workflow.run_records import RunRecord

LIKE = {"weight": torch.zeros(2, 2), "num_batches_tracked": torch.tensor(0)}
SITE = RunRecord(
    task="ct",
    image_size=(64, 64),
    trained_on="Hospital A",
    training_cases=4,
    data_licence="CC0-1.0",
    training={"batch_size": 8},
)


def test_averages_get_the_order_shapes_and_types_of_the_network() -> None:
    given = {"num_batches_tracked": np.float64((4 * 24 + 2 * 12) / 6), "weight": np.arange(4.0)}  # 20
    saved = as_saved(given, LIKE)
    assert list(saved) == ["weight", "num_batches_tracked"]
    assert saved["weight"].tolist() == [[0, 1], [2, 3]] and saved["weight"].dtype == torch.float32
    assert saved["num_batches_tracked"] == 20 and saved["num_batches_tracked"].dtype == torch.int64


def test_an_average_of_whole_numbers_is_rounded() -> None:
    saved = as_saved(LIKE | {"num_batches_tracked": torch.tensor(18.7)}, LIKE)
    assert saved["num_batches_tracked"] == 19


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"weight": LIKE["weight"]}, "num_batches_tracked differs"),
        (LIKE | {"head": torch.zeros(1)}, "head differs"),
        (LIKE | {"weight": torch.zeros(3)}, "weight differs"),
    ],
    ids=["missing", "more", "another size"],
)
def test_weights_of_another_network_are_refused(given: dict[str, torch.Tensor], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        as_saved(given, LIKE)


def test_the_joined_record_counts_the_cases_of_all_sites() -> None:
    other = replace(SITE, trained_on="Hospital B", training_cases=2)
    assert joined_record([SITE, other]) == replace(SITE, trained_on="Hospital A; Hospital B", training_cases=6)


def test_a_licence_that_not_all_sites_share_is_not_recorded() -> None:
    joined = joined_record([SITE, replace(SITE, data_licence=None)])
    assert joined.data_licence is None and joined.trained_on == "Hospital A"


def test_sites_with_other_settings_are_not_joined() -> None:
    with pytest.raises(ValueError, match="different settings"):
        joined_record([SITE, replace(SITE, training={"batch_size": 4})])
