"""Training data: every 2D slice of every volume, or every 2D image, once per epoch."""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from torch import distributed
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


class EpochSampler(DistributedSampler):
    """Shuffled (epoch, index) pairs, split between the processes.

    The order depends only on seed and epoch. MONAI's engines call ``set_epoch``, as for any ``DistributedSampler``.

    Args:
        dataset: the dataset to draw from.
        seed: seed of the order.
    """

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        parallel = distributed.is_available() and distributed.is_initialized()
        replicas = distributed.get_world_size() if parallel else 1
        rank = distributed.get_rank() if parallel else 0
        super().__init__(dataset, replicas, rank, shuffle=True, seed=seed)
        self._skipped = 0

    def skip(self, count: int) -> None:
        """Leave out the first pairs of the next pass, to continue an epoch that was stopped."""
        self._skipped = count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        start, self._skipped = self._skipped, 0
        return ((self.epoch, index) for index in itertools.islice(super().__iter__(), start, None))
