"""Growth from 1 to 64 workers, on paper and in a simulation: what limits first, from stages that were measured."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from benchmarks.measuring import Setting, Table

TITLE = "Growth with the number of workers"
WORKERS = (1, 2, 4, 8, 16, 32, 64)
CASES_PER_WORKER = 40


@dataclass(frozen=True)
class Stages:
    """Stages of one CT of 512×512×150 voxels, from file to file, without a picture.

    The seconds are those of docs/benchmarks.md, "Inference of a volume"; the bytes those of the phantom that it
    measures, compressed, and of its label. The engine's time is 7 ms of Dask's client and scheduler and 11 ms of the
    record, as docs/clusters.md measures them.

    Attributes:
        name: what the worker computes with.
        network_s: time of the network.
        own_s: other time of the worker alone: decompression, checks, resizing, inversion, writing.
        read_mb: bytes that are read.
        write_mb: bytes that are written.
        engine_s: time of the one process that sends cases and records outcomes.
    """

    name: str
    network_s: float
    own_s: float = 0.85
    read_mb: float = 45.7
    write_mb: float = 0.4
    engine_s: float = 0.018


@dataclass(frozen=True)
class Place:
    """What all workers share.

    Attributes:
        name: of the place.
        read_mb_s: rate at which the storage reads.
        write_mb_s: rate at which it writes.
        network_mb_s: rate of its connection.
        open_s: time that the storage needs for the files of a case, besides their bytes.
    """

    name: str
    read_mb_s: float
    write_mb_s: float
    network_mb_s: float
    open_s: float


STAGES = (
    Stages("two CPU cores a worker, network 23.7 s", 23.7),
    Stages("a device 20 times as fast, network 1.2 s", 1.2),
)
PLACES = (
    Place("1 Gbit/s", 200, 150, 117, 0.02),
    Place("10 Gbit/s", 1000, 500, 1170, 0.01),
)


def loads(stages: Stages, place: Place) -> dict[str, float]:
    """Seconds of one case at each thing that workers share."""
    return {
        "reading": stages.read_mb / place.read_mb_s + place.open_s,
        "network": (stages.read_mb + stages.write_mb) / place.network_mb_s,
        "writing": stages.write_mb / place.write_mb_s + place.open_s,
        "engine": stages.engine_s,
    }


def on_paper(stages: Stages, place: Place, workers: int) -> tuple[float, str]:
    """Cases per second, and what limits them: the workers, or the shared thing that takes longest per case.

    The rate is at most n / T for n workers, each of which needs T seconds for a case, and 1 / s for each shared thing.
    """
    shared = loads(stages, place)
    alone = stages.network_s + stages.own_s + sum(shared.values())
    limits = {"workers": workers / alone, **{name: 1 / seconds for name, seconds in shared.items()}}
    first = min(limits, key=limits.__getitem__)
    return limits[first], first


def simulate(stages: Stages, place: Place, workers: int, seed: int = 0) -> float:
    """Cases per second of a simulation: shared things serve one case at a time, in the order in which they ask.

    The time of the network varies between cases by a quarter (log-normal), as volumes have different sizes.
    """
    rng = np.random.default_rng(seed)
    shared = loads(stages, place)
    route = ["engine", "reading", "network", "compute", "writing"]
    free = dict.fromkeys(shared, 0.0)
    left, cases, ended = workers * CASES_PER_WORKER, 0, 0.0
    queue = [(0.0, number, 0) for number in range(workers)]
    while queue:
        now, number, step = heapq.heappop(queue)
        if step == 0 and left == 0:
            continue
        left -= step == 0
        stage = route[step]
        if stage == "compute":
            now += stages.own_s + stages.network_s * float(rng.lognormal(-(0.25**2) / 2, 0.25))
        else:
            now = free[stage] = max(now, free[stage]) + shared[stage]
        step = (step + 1) % len(route)
        if step == 0:
            cases, ended = cases + 1, max(ended, now)
        heapq.heappush(queue, (now, number, step))
    return cases / ended


def run(setting: Setting) -> list[Table]:
    """The tables of all kinds of workers and places."""
    tables = []
    for stages in STAGES:
        rows = []
        for workers in WORKERS:
            row = [str(workers)]
            for place in PLACES:
                bound, first = on_paper(stages, place, workers)
                rate, one = simulate(stages, place, workers), simulate(stages, place, 1)
                row += [f"{3600 * bound:.0f}", f"{3600 * rate:.0f}", f"{rate / one / workers:.0%}", first]
            rows.append(row)
        header = ["workers"]
        for place in PLACES:
            header += [f"{place.name}: cases/h on paper", "simulated", "of n times one", "limit on paper"]
        tables.append(Table(stages.name[0].upper() + stages.name[1:], header, rows, _note(stages)))
    return tables


def _note(stages: Stages) -> str:
    places = "; ".join(
        f"storage at {place.name} that reads {place.read_mb_s:.0f} MB/s, writes {place.write_mb_s:.0f} MB/s and needs "
        f"{1000 * place.open_s:.0f} ms per case for its files"
        for place in PLACES
    )
    return (
        f"A CT of 512×512×150 voxels: {stages.read_mb:.0f} MB read, {stages.write_mb} MB written, {stages.own_s} s of "
        f"the worker besides the network, {1000 * stages.engine_s:.0f} ms of the engine. Assumed: {places}."
    )
