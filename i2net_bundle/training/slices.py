"""Training data: every 2D slice of every volume, or every 2D image, once per epoch."""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch.utils.data import Dataset, DistributedSampler, get_worker_info
from tqdm import tqdm

from i2net_bundle.data.image_files import image_paths
from i2net_bundle.io.handover import forget_decoded
from i2net_bundle.training.cache import CaseCache
from i2net_bundle.transforms.augmentation import reseed

_WORKERS = 256


class SliceDataset(Dataset):
    """Slices of labelled volumes. A 2D image counts as a volume of one slice.

    An item is addressed as (epoch, index). Its augmentation depends only on (seed, epoch, index), not on the number of
    workers or on interruptions. A bare index means epoch 0.

    Args:
        data: ``[{"image": path, or one per channel, "label": path}, ...]``, one per volume.
        reading: transforms that read files as arrays (C, H, W, D) or (C, H, W), see `i2net_bundle.transforms`.
        transform: turns a cached slice into a training item.
        cache_dir: folder for the decoded arrays. Default: keep them in memory.
        cache_limit_gb: maximum size of the decoded arrays, in GB. Default: the free space.
        seed: seed of the augmentation.

    Raises:
        ValueError: there are no volumes, or a file cannot be used.
        OSError: the decoded volumes exceed the memory, the disk or the limit.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        reading: Compose,
        transform: Compose,
        cache_dir: str | Path | None = None,
        cache_limit_gb: float | None = None,
        seed: int = 0,
    ) -> None:
        if not data:
            raise ValueError("The training list is empty. Add at least one case under 'training' in dataset.json.")
        self.transform = transform
        self.seed = seed
        cache = CaseCache(reading, cache_dir, cache_limit_gb)
        cache.require_room(data)
        self.cases = [cache.read(case) for case in tqdm(data, desc="reading cases", unit="case", disable=None)]
        forget_decoded()
        self.names = [Path(image_paths(case)[0]).name for case in data]
        self.ends = list(itertools.accumulate(len(case) for case in self.cases))
        self.loading = torch.full((_WORKERS, 2), -1).share_memory_()

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, address: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = address if isinstance(address, tuple) else (0, address)
        if not 0 <= index < len(self):
            raise IndexError(f"slice {index} of {len(self)}")
        case, position = self._locate(index)
        worker = get_worker_info()
        if worker is not None and worker.id < _WORKERS:
            self.loading[worker.id] = torch.tensor([os.getpid(), index])
        slices = {key: torch.from_numpy(array) for key, array in self.cases[case][position].items()}
        reseed(self.transform, self.seed, epoch, index)
        item = convert_to_tensor(self.transform(slices), track_meta=False)
        return {**item, "case": self.name(index)}

    def name(self, index: int) -> str:
        """Name of a slice: the file of its case, and its position in it."""
        case, position = self._locate(index)
        return f"{self.names[case]}[{position}]"

    def last_of(self, process: int) -> str | None:
        """Name of the slice that a worker process of the data loader read last; None if it read none."""
        found = [index for owner, index in self.loading.tolist() if owner == process]
        return self.name(found[0]) if found else None

    def _locate(self, index: int) -> tuple[int, int]:
        case = bisect.bisect_right(self.ends, index)
        return case, index - (self.ends[case - 1] if case else 0)


class _EpochOrder(DistributedSampler):
    """The shuffled order of a whole epoch, which depends only on seed and epoch."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        super().__init__(dataset, num_replicas=1, rank=0, shuffle=True, seed=seed)
        self._skipped = 0

    def skip(self, count: int) -> None:
        """Leave out the first items of the next pass, to continue an epoch that was stopped."""
        self._skipped = count

    def _pairs(self) -> list[tuple[int, int]]:
        return [(self.epoch, index) for index in super().__iter__()]

    def _start(self) -> int:
        start, self._skipped = self._skipped, 0
        return start


class EpochSampler(_EpochOrder):
    """Shuffled (epoch, index) pairs for one process.

    The order depends only on seed and epoch. MONAI's engines call ``set_epoch``, as for any ``DistributedSampler``.

    Args:
        dataset: the dataset to draw from.
        seed: seed of the order.

    Raises:
        ValueError: there are several processes, each of which would draw every slice.
    """

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        count = idist.get_world_size()
        if count > 1:
            raise ValueError(
                f"EpochSampler serves one process, and there are {count}. Pass EpochBatches as batch_sampler of the "
                "data loader, as configs/multi_gpu_train.yaml does."
            )
        super().__init__(dataset, seed)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return itertools.islice(self._pairs(), self._start(), None)


class EpochBatches(_EpochOrder):
    """Batches of shuffled (epoch, index) pairs for one of several processes, as ``batch_sampler`` of a data loader.

    The batches that all processes draw in one iteration are together the batch that one process with `EpochSampler` and
    the product of ``batch_size`` and the number of processes would draw. An epoch contains each slice once: nothing is
    repeated or dropped. See `sizes_over_processes` for the last batches, which may be smaller. `SegmentationTrainer`
    calls ``set_epoch``.

    Args:
        dataset: the dataset to draw from.
        batch_size: slices in a batch of each process.
        seed: seed of the order.

    Raises:
        ValueError: there are fewer slices than processes.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int = 0) -> None:
        super().__init__(dataset, seed)
        self.process, self.processes = idist.get_rank(), idist.get_world_size()
        self.sizes = sizes_over_processes(len(self.dataset), batch_size, self.processes)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        pairs, ends = self._pairs(), itertools.accumulate(self.sizes)
        batches = [
            pairs[end - size + self.process : end : self.processes] for size, end in zip(self.sizes, ends, strict=True)
        ]
        return itertools.islice(batches, self._start(), None)


def sizes_over_processes(count: int, batch_size: int, processes: int) -> list[int]:
    """Number of slices that all processes together draw in each iteration of an epoch.

    These are ``batch_size * processes`` slices, and the rest in the last iteration. A rest of fewer slices than
    processes would leave some of them without work, so the iteration before cedes some slices to it. With a
    ``batch_size`` of 1, which leaves none to cede, the last iteration takes the rest in addition, and some processes
    then draw two slices.

    >>> sizes_over_processes(25, batch_size=3, processes=4)
    [12, 9, 4]

    Args:
        count: slices in an epoch.
        batch_size: slices of each process in an iteration.
        processes: number of processes.

    Raises:
        ValueError: there are fewer slices than processes.
    """
    if count < processes:
        raise ValueError(
            f"The training list has {count} slices for {processes} processes, and each process needs one. Start fewer "
            "processes (--nproc-per-node and --nnodes of torchrun)."
        )
    full = batch_size * processes
    sizes, rest = [full] * (count // full), count % full
    if rest >= processes:
        return [*sizes, rest]
    if rest and batch_size > 1:
        return [*sizes[:-1], full - processes + rest, processes]
    if rest:
        return [*sizes[:-1], full + rest]
    return sizes
