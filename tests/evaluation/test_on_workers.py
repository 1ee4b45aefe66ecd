"""Scores from the workers of a Dask cluster: those of one process, and faults of single workers."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.cli import main
from i2net_bundle.evaluation import on_workers
from i2net_bundle.evaluation.folders import evaluate_folders
from i2net_bundle.metrics.registry import METRICS
from i2net_bundle.prediction.cohort_record import package_versions
from i2net_bundle.workflow.dask_engine import LostWorkersError
from i2net_bundle.workflow.same_workers import WorkerError
from tests.evaluation.mask_files import LABEL, PRED, save

SCHEDULER = "tcp://10.0.0.1:8786"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    preds, labels = tmp_path / "preds", tmp_path / "labels"
    for number in (1, 2, 3):
        save(preds / f"img000{number}_mask.nii.gz", PRED if number != 2 else LABEL)
        save(labels / f"label000{number}.nii.gz", LABEL)
    return preds, labels


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make workers whose tasks run in this process, the last first; some meet a fault of their worker."""

    def make(faults: Mapping[str, BaseException] | None = None) -> None:
        def run(
            client: Any, function: Callable[..., Any], tasks: Mapping[str, tuple[Any, ...]], stopping: Any
        ) -> Iterator[tuple[str, Any]]:
            for name in reversed(tasks):
                yield name, (faults or {}).get(name) or function(*tasks[name])

        monkeypatch.setattr(on_workers, "connected", lambda cluster: nullcontext())
        monkeypatch.setattr(on_workers, "num_threads", lambda client: 2)
        monkeypatch.setattr(on_workers, "dashboard", lambda client: "no dashboard")
        monkeypatch.setattr(on_workers, "run_tasks", run)

    return make


def test_workers_give_the_tables_of_one_process(
    cluster: Callable[..., None], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    cluster()
    save(folders[0] / "img0003_mask.nii.gz", PRED[:6])  # cannot be scored
    evaluate_folders(*folders, tmp_path / "alone", conventions=True)
    evaluate_folders(*folders, tmp_path / "workers", conventions=True, scheduler=SCHEDULER)
    alone, workers = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.suffix != ".lock"}
        for name in ("alone", "workers")
    )
    assert {"metrics.csv", "summary.json", "failed.csv", "conventions.csv"} <= set(alone)
    assert workers == alone


def test_a_case_that_kills_its_workers_is_listed(
    cluster: Callable[..., None], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    cluster({"1": LostWorkersError("3 workers died while running it, at last tcp://10.0.0.7:4. Run it alone.")})
    assert evaluate_folders(*folders, tmp_path / "out", scheduler=SCHEDULER)["cases"] == 2
    with (tmp_path / "out" / "failed.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert "img0002" in row["file"] and "3 workers died" in row["reason"]


def test_a_worker_with_other_versions_is_named(
    cluster: Callable[..., None], folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster()
    answers = iter([{**package_versions(), "monai": "0.1"}, *[package_versions()] * 9])
    monkeypatch.setattr(on_workers, "package_versions", lambda: next(answers))
    with pytest.raises(WorkerError, match=r"has other versions than the others: monai .*, elsewhere 0\.1\. Scores"):
        evaluate_folders(*folders, tmp_path / "out", scheduler=SCHEDULER)
    assert not (tmp_path / "out" / "metrics.csv").exists()


def test_workers_score_with_the_metrics_of_the_process_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(iter(METRICS))
    wanted = {name: METRICS[name]}
    monkeypatch.setattr(on_workers, "METRICS", dict(METRICS))
    found = on_workers.attempt(lambda: sorted(on_workers.METRICS), ".", package_versions(), wanted, ())
    assert found == [name]


def test_processes_here_and_on_a_cluster_exclude_each_other(folders: tuple[Path, Path]) -> None:
    with pytest.raises(SystemExit, match="With --scheduler, give it to `dask worker`"):
        main(["evaluate", *map(str, folders), "--workers", "2", "--scheduler", SCHEDULER])
