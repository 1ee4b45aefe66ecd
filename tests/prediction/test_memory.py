"""Memory is reported only if it matters, and every allocator's error is one kind."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from i2net_bundle.prediction import memory
from i2net_bundle.prediction.memory import memory_advice, report_memory, uniform_memory_errors


@pytest.mark.parametrize(
    ("needed", "messages"),
    [
        (2e7, []),
        (3e9, ["ct: needs about 3.0 GB of memory"]),
        (9e9, ["ct: needs about 9.0 GB of memory, and 4.0 GB are free. Close other programs, or lower batch_size."]),
    ],
    ids=["little", "much", "too much"],
)
def test_memory_is_reported_if_it_matters(
    needed: float, messages: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=4e9))
    with caplog.at_level(logging.INFO):
        report_memory("ct", int(needed))
    assert [record.getMessage() for record in caplog.records] == messages


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("could not create a primitive"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
    ids=["numpy", "torch on a CPU", "CUDA", "cuBLAS", "oneDNN", "torch on a GPU"],
)
def test_every_allocators_error_is_one_kind(error: Exception) -> None:
    with pytest.raises(torch.OutOfMemoryError), uniform_memory_errors():
        raise error


def test_other_errors_keep_their_kind() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught, uniform_memory_errors():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert type(caught.value) is RuntimeError


def test_the_advice_names_another_device_only_for_a_gpu() -> None:
    assert "--device cpu" in memory_advice("cuda:0") and "--device" not in memory_advice("cpu")
