"""Cases on the workers of a Dask cluster: results as in one process, and faults of single workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from i2net_bundle.io.writing import DiskFullError
from i2net_bundle.prediction import on_workers
from i2net_bundle.prediction.case_files import Extras
from i2net_bundle.prediction.cohort import predict_files
from i2net_bundle.prediction.cohort_record import package_versions
from i2net_bundle.prediction.on_workers import Same, Setup, Workers, require_same, workers
from i2net_bundle.prediction.predictor import Predictor
from i2net_bundle.workflow.dask_engine import Cluster, LostWorkersError
from i2net_bundle.workflow.same_workers import WorkerError
from tests.prediction.test_interruptions import contents

CASES = ("a", "b", "c")


@pytest.fixture
def options(weights: Path) -> dict[str, Any]:
    return {"weights": str(weights), "overrides": {"image_size": [32, 32]}, "device": "cpu"}


def here(
    function: Callable[..., Any], tasks: Mapping[str, tuple[Any, ...]], faults: Mapping[str, BaseException]
) -> Iterator[tuple[str, Any]]:
    """Run tasks as the engine does, the last first, but in this process; some meet a fault of their worker."""
    for name in reversed(tasks):
        try:
            yield name, faults[name] if name in faults else function(*tasks[name])
        except Exception as error:
            yield name, error


@pytest.fixture
def cluster(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workers]:
    """Workers whose tasks run in this process."""

    def make(faults: Mapping[str, BaseException] | None = None) -> Workers:
        monkeypatch.setattr(
            on_workers, "run_tasks", lambda client, function, tasks, stopping: here(function, tasks, faults or {})
        )
        setup = Setup(options, str(Path.cwd()))
        return Workers(None, setup, on_workers.describe_worker(setup))

    return make


def test_workers_write_what_one_process_writes(
    cluster: Callable[..., Workers], options: dict[str, Any], scans: Path, tmp_path: Path
) -> None:
    (scans / "broken.nii.gz").write_bytes(b"<html>")
    predictor = Predictor(**options)
    found = predict_files([scans], tmp_path / "out", predictor, segmenter=cluster())
    assert found.failed == [str(scans / "broken.nii.gz")]
    predict_files([scans], tmp_path / "whole", predictor)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    again = predict_files([scans], tmp_path / "out", predictor, resume=True, segmenter=cluster())
    assert again.done_before == 3


def test_the_network_is_loaded_once_a_worker(
    cluster: Callable[..., Workers],
    options: dict[str, Any],
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []

    class Counted(Predictor):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            loaded.append(named)
            super().__init__(*arguments, **named)

    monkeypatch.setattr(on_workers, "Predictor", Counted)
    monkeypatch.setattr(on_workers, "_predictors", {})
    predict_files([scans], tmp_path / "out", Predictor(**options), segmenter=cluster(), pictures=False)
    assert len(loaded) == 1


def test_an_image_that_kills_its_workers_is_listed_and_leaves_no_files(
    cluster: Callable[..., Workers], options: dict[str, Any], scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    segmenter = cluster({"b": LostWorkersError("3 workers died while running it, at last tcp://10.0.0.1:4. Perhaps …")})
    (out / "b_mask.nii.gz").touch()  # of the attempt
    (out / "prediction.json").touch()
    result = predict_files([scans], out, Predictor(**options), overwrite=True, segmenter=segmenter, pictures=False)
    assert result.failed == [str(scans / "b.nii.gz")] and result.exit_status == 1
    assert "3 workers died while running it, at last tcp://10.0.0.1:4" in (out / "failed.csv").read_text()
    assert {path.name for path in out.glob("*_mask*")} == {"a_mask.nii.gz", "c_mask.nii.gz"}


def test_a_worker_replaces_the_files_of_an_attempt_that_died(
    cluster: Callable[..., Workers], options: dict[str, Any], scans: Path, tmp_path: Path
) -> None:
    segmenter, out = cluster(), tmp_path / "out"
    out.mkdir()
    (out / "a_mask.nii.gz").write_bytes(b"half of a mask")
    case = {"case": "a", "image": str(scans / "a.nii.gz"), "shown": "a"}
    assert on_workers.segment(segmenter.setup, segmenter.same, case, out, Extras(pictures=False)).status == "ok"
    assert (out / "a_mask.nii.gz").stat().st_size > 100


def test_a_full_disk_of_a_worker_stops_the_cohort_and_names_the_worker(
    cluster: Callable[..., Workers],
    options: dict[str, Any],
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segment, predictor = on_workers.predict_case, Predictor(**options)

    def fill(case: Mapping[str, Any], *arguments: Any) -> Any:
        if case["case"] == "b":
            raise DiskFullError("b_mask.nii.gz was not written: the disk is full.")
        return segment(case, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(on_workers, "predict_case", fill)
        with pytest.raises(DiskFullError, match=r"Worker on .+, process \d+: b_mask\.nii\.gz was not written"):
            predict_files([scans], tmp_path / "out", predictor, segmenter=cluster())
    result = predict_files([scans], tmp_path / "out", predictor, resume=True, segmenter=cluster())
    assert result.done_before == 1 and result.failed == []


def test_a_worker_with_other_versions_stops_the_cohort(
    cluster: Callable[..., Workers],
    options: dict[str, Any],
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segmenter = cluster()
    monkeypatch.setattr(on_workers, "package_versions", lambda: package_versions() | {"torch": "1.0"})
    with pytest.raises(WorkerError, match=r"Worker on .+ has other versions than the others: torch 1\.0, elsewhere"):
        predict_files([scans], tmp_path / "out", Predictor(**options), segmenter=segmenter)
    assert not list((tmp_path / "out").glob("*_mask.*"))


def test_a_worker_with_other_settings_is_named() -> None:
    same = Same({"device": "cuda", "maps": ["class"]}, {"torch": "2"})
    require_same(same, Same({"device": "cuda", "maps": ("class",)}, {"torch": "2"}), "w")
    with pytest.raises(WorkerError, match=r"^w has other settings than the others: device cpu, elsewhere cuda\. Masks"):
        require_same(same, Same({"device": "cpu", "maps": ["class"]}, {"torch": "2"}), "w")


def test_a_worker_without_the_weights_says_so(
    cluster: Callable[..., Workers], options: dict[str, Any], scans: Path, tmp_path: Path
) -> None:
    segmenter = cluster()
    segmenter.setup = Setup({**options, "weights": "elsewhere/model.pt"}, str(Path.cwd()))
    with pytest.raises(WorkerError, match=r"Worker on .+, process \d+: .*elsewhere/model\.pt"):
        predict_files([scans], tmp_path / "out", Predictor(**options), segmenter=segmenter)


def test_an_error_is_returned_because_dask_logs_the_arguments_of_a_task_that_raises(
    cluster: Callable[..., Workers], tmp_path: Path
) -> None:
    setup = Setup({"weights": "elsewhere/model.pt", "device": "cpu"}, str(Path.cwd()))
    case = {"case": "dicom_1", "image": str(tmp_path / "DOE^JOHN"), "shown": "dicom_1"}
    result = on_workers.attempt(setup, cluster().same, case, tmp_path, Extras(pictures=False))
    assert isinstance(result, WorkerError) and "DOE^JOHN" not in str(result)


@pytest.mark.slow
def test_processes_of_a_local_cluster_predict_a_cohort(options: dict[str, Any], scans: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    predictor = Predictor(**options)
    with workers(Cluster(workers=1, memory=4 * 10**9), Setup(options, str(Path.cwd()), 1, 4 * 10**9)) as segmenter:
        assert predict_files([scans], tmp_path / "out", predictor, segmenter=segmenter, pictures=False).failed == []
    predict_files([scans], tmp_path / "whole", predictor, pictures=False)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
