"""The kinds of task are registered in one place."""

from __future__ import annotations

import pytest

from i2net_bundle.io.channels import is_ct
from i2net_bundle.labels import class_names
from i2net_bundle.tasks import TASKS, task_of


def test_the_kinds_are_ct_mr_and_histology_under_their_own_names() -> None:
    assert list(TASKS) == ["ct", "mr", "histology"]
    assert all(task.name == name for name, task in TASKS.items())


def test_ct_alone_has_a_channel_in_hounsfield_units() -> None:
    assert [any(map(is_ct, task.channels)) for task in TASKS.values()] == [True, False, False]


@pytest.mark.parametrize("name", list(TASKS))
def test_every_kind_names_a_built_in_label_table(name: str) -> None:
    assert class_names(task_of(name).label_table)[0] == "background"


def test_a_data_set_is_no_kind_of_task() -> None:
    with pytest.raises(ValueError, match=r"^Unknown task 'synapse'; known: ct, mr, histology\.$"):
        task_of("synapse")
