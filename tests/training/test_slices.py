"""Training slices: each once per epoch, independent of workers and order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose

from i2net_bundle.data import load_cases
from i2net_bundle.io.options import HistologyOptions, VolumeOptions
from i2net_bundle.labels import class_names
from i2net_bundle.training.cache import CaseCache
from i2net_bundle.training.slices import EpochBatches, EpochSampler, SliceDataset
from i2net_bundle.transforms import histology_reading, histology_training, volume_reading, volume_training
from tests.causes import message_of
from tests.training.counting import Count

INSTANCES = HistologyOptions(label_values="instances")
KEYS = ("image", "label")


def as_cached() -> Compose:
    """Return cached slices unchanged."""
    return Compose([])


@pytest.fixture(scope="module")
def plain(ct_dir: Path) -> SliceDataset:
    """32 slices of 48×48 without augmentation or resizing."""
    return SliceDataset(load_cases(ct_dir, "training"), volume_reading(KEYS), as_cached())


@pytest.fixture(scope="module")
def augmented(ct_dir: Path) -> SliceDataset:
    return SliceDataset(load_cases(ct_dir, "training"), volume_reading(KEYS), volume_training((24, 24)), seed=3)


def same(item: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return item["case"] == other["case"] and all(torch.equal(item[key], other[key]) for key in KEYS)


def order_of(length: int, seed: int, epoch: int) -> list[tuple[int, int]]:
    sampler = EpochSampler(range(length), seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_items_are_the_axial_slices_of_the_volumes_in_turn(plain: SliceDataset, ct_dir: Path) -> None:
    read = volume_reading(KEYS)
    expected = [
        (f"{Path(case['image']).name}[{depth}]", *(volume[key][..., depth] for key in KEYS))
        for case in load_cases(ct_dir, "training")
        for volume in [read(case)]
        for depth in range(16)
    ]
    assert len(plain) == len(expected) == 32
    for index, (name, image, label) in enumerate(expected):
        item = plain[index]
        assert item["case"] == name
        np.testing.assert_array_equal(item["image"], image)
        np.testing.assert_array_equal(item["label"], label)


@pytest.mark.parametrize("batch_size", [1, 5, 8])
def test_an_epoch_contains_every_slice_exactly_once(plain: SliceDataset, batch_size: int) -> None:
    loader = DataLoader(plain, batch_size=batch_size, sampler=EpochSampler(plain))
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        names = [name for batch in loader for name in batch["case"]]
        assert sorted(names) == sorted(f"case_{case:03d}.nii.gz[{depth}]" for case in range(2) for depth in range(16))


def test_an_index_past_the_end_is_refused(plain: SliceDataset) -> None:
    with pytest.raises(IndexError):
        plain[32]


def test_the_order_is_the_same_after_any_history_and_any_global_seed() -> None:
    sampler = EpochSampler(range(50), seed=4)
    list(sampler)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the legacy state is what must not matter
    sampler.set_epoch(7)
    assert list(sampler) == list(sampler) == order_of(50, seed=4, epoch=7)


@pytest.mark.parametrize(("seed", "epoch"), [(4, 8), (5, 7)], ids=["another epoch", "another seed"])
def test_another_epoch_or_seed_gives_another_order(seed: int, epoch: int) -> None:
    indices = [[index for _, index in order_of(50, s, e)] for s, e in ((4, 7), (seed, epoch))]
    assert indices[0] != indices[1]
    assert sorted(indices[0]) == sorted(indices[1]) == list(range(50))


def test_the_sampler_passes_the_epoch_to_the_dataset() -> None:
    assert {epoch for epoch, _ in order_of(50, seed=0, epoch=7)} == {7}


def in_process(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    """Pretend to be one of several processes."""
    monkeypatch.setattr(idist, "get_world_size", lambda: processes)
    monkeypatch.setattr(idist, "get_rank", lambda: rank)


def batches_of_all(
    monkeypatch: pytest.MonkeyPatch, count: int, batch_size: int, processes: int
) -> list[list[list[int]]]:
    """Indices that each process draws in each iteration of an epoch."""
    shares = []
    for rank in range(processes):
        in_process(monkeypatch, rank, processes)
        sampler = EpochBatches(range(count), batch_size, seed=1)
        sampler.set_epoch(3)
        drawn = list(sampler)
        assert len(sampler) == len(drawn)
        assert {epoch for batch in drawn for epoch, _ in batch} == {3}
        shares.append([[index for _, index in batch] for batch in drawn])
    return shares


@pytest.mark.parametrize("processes", range(1, 9))
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_no_process_repeats_or_loses_a_slice(batch_size: int, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in range(processes, 4 * batch_size * processes):
        shares = batches_of_all(monkeypatch, count, batch_size, processes)
        drawn = [index for batches in shares for batch in batches for index in batch]
        assert sorted(drawn) == list(range(count))
        assert len({len(batches) for batches in shares}) == 1  # all take part in every iteration
        sizes = [len(batch) for batches in shares for batch in batches]
        assert min(sizes) >= 1
        assert max(sizes) <= max(batch_size, 2)  # two slices only where batch_size 1 leaves no other place for a rest


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("count", [24, 28], ids=["whole batches", "and a rest"])
def test_the_batches_of_all_processes_are_those_of_one(
    count: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = batches_of_all(monkeypatch, count, 8 // processes, processes)
    together = [sorted(index for batch in batches for index in batch) for batches in zip(*shares, strict=True)]
    alone = [index for _, index in order_of_one(monkeypatch, count)]
    assert together == [sorted(alone[start : start + 8]) for start in range(0, count, 8)]


def order_of_one(monkeypatch: pytest.MonkeyPatch, count: int) -> list[tuple[int, int]]:
    in_process(monkeypatch, 0, 1)
    return order_of(count, seed=1, epoch=3)


def test_skipped_batches_are_left_out_of_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch, 1, 2)
    sampler = EpochBatches(range(20), batch_size=3)
    everything = list(sampler)
    sampler.skip(2)
    assert list(sampler) == everything[2:]
    assert list(sampler) == everything


def test_fewer_slices_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch, 0, 4)
    with pytest.raises(ValueError, match="has 3 slices for 4 processes"):
        EpochBatches(range(3), batch_size=1)


def test_the_sampler_of_one_process_refuses_several(monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch, 0, 2)
    with pytest.raises(ValueError, match="serves one process, and there are 2"):
        EpochSampler(range(10))


def test_items_do_not_depend_on_the_order_of_access(augmented: SliceDataset) -> None:
    indices = [20, 3, 31, 3, 0, 17]
    forwards = [augmented[2, index] for index in indices]
    augmented[5, 1]
    backwards = [augmented[2, index] for index in reversed(indices)]
    assert all(same(*pair) for pair in zip(forwards, reversed(backwards), strict=True))


def test_items_do_not_depend_on_global_random_states(augmented: SliceDataset) -> None:
    items = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the legacy state is what must not matter
        items.append([augmented[1, index] for index in range(16)])
    assert all(same(*pair) for pair in zip(*items, strict=True))


def test_items_do_not_depend_on_the_number_of_workers(augmented: SliceDataset) -> None:
    epochs = []
    for num_workers in (0, 2):
        sampler = EpochSampler(augmented, seed=3)
        sampler.set_epoch(4)
        loader = DataLoader(augmented, batch_size=8, sampler=sampler, num_workers=num_workers)
        epochs.append(list(loader))
    assert len(epochs[0]) == len(epochs[1]) == 4
    assert all(same(*pair) for pair in zip(*epochs, strict=True))


def test_augmentation_changes_with_epoch_index_and_seed(ct_dir: Path, augmented: SliceDataset) -> None:
    other_seed = SliceDataset(load_cases(ct_dir, "training"), volume_reading(KEYS), volume_training((24, 24)), seed=4)
    images = [
        [dataset[epoch, index]["image"] for index in range(32)]
        for dataset, epoch in ((augmented, 0), (augmented, 1), (other_seed, 0))
    ]
    for other in images[1:]:
        changed = sum(not torch.equal(*pair) for pair in zip(images[0], other, strict=True))
        assert changed > 16  # both draws leave a slice alone with p 1/16


def test_items_are_plain_tensors_whatever_was_drawn(augmented: SliceDataset) -> None:
    # MONAI cannot collate a batch that mixes them with meta tensors
    assert {type(augmented[0, index][key]) for index in range(32) for key in KEYS} == {torch.Tensor}


def test_a_bare_index_means_epoch_0(augmented: SliceDataset) -> None:
    assert all(same(augmented[index], augmented[0, index]) for index in range(32))


def test_an_item_can_be_changed_in_place_without_harm(plain: SliceDataset) -> None:
    before = plain[0]["image"].clone()
    plain[0]["image"].fill_(0)
    assert torch.equal(plain[0]["image"], before)


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_each_volume_is_read_once(ct_dir: Path, tmp_path: Path, on_disk: bool) -> None:
    count = Count()
    reading = Compose([count, *volume_reading(KEYS).transforms])
    cases = load_cases(ct_dir, "training")
    dataset = SliceDataset(cases, reading, as_cached(), cache_dir=tmp_path if on_disk else None)
    for epoch in range(2):
        for index in range(len(dataset)):
            dataset[epoch, index]
    assert count.calls == len(cases) == 2


def test_slices_from_a_disk_cache_equal_those_from_memory(
    ct_dir: Path, tmp_path: Path, augmented: SliceDataset
) -> None:
    cached = SliceDataset(
        load_cases(ct_dir, "training"), volume_reading(KEYS), volume_training((24, 24)), cache_dir=tmp_path, seed=3
    )
    assert all(same(cached[1, index], augmented[1, index]) for index in range(32))


def test_a_2d_image_is_a_volume_of_one_slice(gland_dir: Path) -> None:
    dataset = SliceDataset(load_cases(gland_dir, "training"), histology_reading(KEYS, INSTANCES), as_cached())
    assert [dataset[index]["case"] for index in range(len(dataset))] == ["train_1.png[0]", "train_2.png[0]"]
    assert dataset[0]["image"].shape == (3, 96, 128)
    assert dataset[0]["label"].unique().tolist() == [0, 1]


def test_histology_patches_do_not_depend_on_the_order_of_access(gland_dir: Path) -> None:
    dataset = SliceDataset(
        load_cases(gland_dir, "training"), histology_reading(KEYS, INSTANCES), histology_training((64, 64)), seed=1
    )
    first = dataset[3, 0]
    dataset[4, 1]
    assert same(dataset[3, 0], first)
    assert not torch.equal(dataset[4, 0]["image"], first["image"])


def test_batches_have_the_shape_and_types_of_the_trainer(augmented: SliceDataset) -> None:
    batch = next(iter(DataLoader(augmented, batch_size=4, sampler=EpochSampler(augmented))))
    assert (batch["image"].shape, batch["image"].dtype) == ((4, 1, 24, 24), torch.float32)
    assert (batch["label"].shape, batch["label"].dtype) == ((4, 1, 24, 24), torch.uint8)
    assert all(name.startswith("case_00") for name in batch["case"])


def test_a_class_that_the_network_lacks_is_refused_and_its_file_named(ct_dir: Path) -> None:
    reading = volume_reading(KEYS, VolumeOptions(classes=tuple(class_names("synapse")[:5])))
    with pytest.raises((ValueError, RuntimeError)) as caught:
        SliceDataset(load_cases(ct_dir, "training"), reading, as_cached())
    assert "labelsTr/case_000.nii.gz: contains 5, 6, 7, 8, which are no classes;" in message_of(caught.value)


def test_an_empty_training_list_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training list is empty.*'training' in dataset\.json"):
        SliceDataset([], volume_reading(KEYS), as_cached())


def test_a_case_without_a_label_is_refused_and_named(ct_dir: Path) -> None:
    cases = [{"image": case["image"]} for case in load_cases(ct_dir, "training")]
    with pytest.raises(ValueError, match=r"case_000\.nii\.gz has no label in dataset\.json"):
        SliceDataset(cases, volume_reading(KEYS), as_cached())


def test_a_page_saved_instead_of_a_scan_is_named(ct_dir: Path, tmp_path: Path) -> None:
    page = tmp_path / "scan.nii.gz"
    page.write_text("<html>please log in</html>")
    cases = [{**load_cases(ct_dir, "training")[0], "image": str(page)}]
    with pytest.raises((ValueError, RuntimeError)) as caught:
        SliceDataset(cases, volume_reading(KEYS), as_cached())
    assert f"{page}: is an HTML or XML page" in message_of(caught.value)


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_the_size_is_reported_before_the_first_case_is_decoded(
    ct_dir: Path, tmp_path: Path, on_disk: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[list[str]] = []
    decode = CaseCache.decode

    def look(cache: CaseCache, case: Mapping[str, Any]) -> Any:
        reported.append([record.getMessage() for record in caplog.records if record.name == "i2net.cache"])
        return decode(cache, case)

    monkeypatch.setattr(CaseCache, "decode", look)
    cases = load_cases(ct_dir, "training")
    with caplog.at_level(logging.INFO, logger="i2net.cache"):
        SliceDataset(cases, volume_reading(KEYS), as_cached(), cache_dir=tmp_path if on_disk else None)
    place = f"in {tmp_path}" if on_disk else "in memory"
    assert len(reported) == 2
    assert reported[0][0].startswith(f"2 decoded cases take about 0.00 GB {place}")


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_a_limit_that_is_too_small_stops_before_anything_is_decoded(
    ct_dir: Path, tmp_path: Path, on_disk: bool
) -> None:
    count = Count()
    reading = Compose([count, *volume_reading(KEYS).transforms])
    cases, cache_dir = load_cases(ct_dir, "training"), tmp_path if on_disk else None
    # 2 cases of 48 · 48 · 16 voxels of 3 bytes: 0.000221 GB
    with pytest.raises(OSError, match=r"2 decoded cases need .* cache_limit_gb is 0\.00022\. Raise it"):
        SliceDataset(cases, reading, as_cached(), cache_dir=cache_dir, cache_limit_gb=0.00022)
    assert count.calls == 0
    assert len(SliceDataset(cases, reading, as_cached(), cache_dir=cache_dir, cache_limit_gb=0.00023)) == 32


def test_a_sampler_leaves_out_the_first_pairs_once_to_continue_an_epoch() -> None:
    sampler = EpochSampler(range(10), seed=3)
    whole = list(sampler)
    sampler.skip(4)
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole
    assert len(sampler) == 10
