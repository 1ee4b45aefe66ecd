"""Several processes on Gloo: one loss, one table of scores, and an end of all when one is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.metrics import DiceMetric
from torch import Tensor, distributed, nn

from i2net_bundle.evaluation import ClasswiseMetric
from i2net_bundle.losses import BoundaryWeightedLoss, CrossEntropyDiceLoss
from i2net_bundle.losses.separation_loss import SeparationLoss
from i2net_bundle.training import SameBuffers
from i2net_bundle.training.trainer import ProcessLostError

PROCESSES = 2


def in_processes(folder: Path, work: Callable[[int], Any]) -> list[Any]:
    """Run work of a rank in forked processes that belong together; None stands for one that was killed."""

    def start(rank: int) -> None:
        torch.set_num_threads(1)
        store = f"file://{folder / 'store'}"
        distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
        torch.save(work(rank), folder / f"{rank}.pt")
        os._exit(0)  # without the parent's handlers of exit

    processes = [get_context("fork").Process(target=start, args=(rank,)) for rank in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        if process.is_alive():
            process.kill()
            raise AssertionError("a process hangs")
    files = [folder / f"{rank}.pt" for rank in range(PROCESSES)]
    return [torch.load(file, weights_only=False) if file.is_file() else None for file in files]


def loss_and_gradient(loss: nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert logits.grad is not None
    return value.detach(), logits.grad


@pytest.mark.parametrize(
    ("loss", "channels"),
    [
        (CrossEntropyDiceLoss(), 3),
        (CrossEntropyDiceLoss(ignore_index=2), 3),
        (BoundaryWeightedLoss(5), 3),
        (SeparationLoss("contour"), 1),
    ],
    ids=["cross-entropy and Dice", "with ignored pixels", "boundary-weighted", "separation"],
)
def test_the_loss_and_its_gradient_are_those_of_one_process(loss: nn.Module, channels: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, channels, 8, 8, generator=generator)
    target = torch.randint(0, max(2, channels), (5, 1, 8, 8), generator=generator)
    value, gradient = loss_and_gradient(loss, logits, target)
    shares = in_processes(  # of three images and two
        tmp_path, lambda rank: loss_and_gradient(loss, logits[rank::PROCESSES], target[rank::PROCESSES])
    )
    for rank, (found, own) in enumerate(shares):
        torch.testing.assert_close(found, value)
        # DistributedDataParallel takes the mean over the processes
        torch.testing.assert_close(own / PROCESSES, gradient[rank::PROCESSES])


def test_every_process_has_the_scores_of_all_cases_in_their_order(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(0, 3, (5, 2, 1, 6, 6), generator=generator)

    def score(indices: list[int]) -> tuple[float, Tensor]:
        metric = ClasswiseMetric(DiceMetric(), num_classes=3)
        metric.update([[pairs[index, 0] for index in indices], [pairs[index, 1] for index in indices]])
        state = SimpleNamespace(metrics={}, metric_details={})
        metric.completed(SimpleNamespace(state=state, data_loader=SimpleNamespace(dataset=range(5))), "dice")
        return state.metrics["dice"], state.metric_details["dice"]

    expected_mean, expected = score([0, 1, 2, 3, 4])

    def share(rank: int) -> tuple[float, Tensor]:
        return score(list(torch.utils.data.DistributedSampler(range(5), shuffle=False)))  # type: ignore[arg-type]

    for mean, values in in_processes(tmp_path, share):
        assert torch.equal(values, expected)
        assert mean == expected_mean


def test_all_processes_validate_with_the_statistics_of_the_first(tmp_path: Path) -> None:
    def buffers(rank: int) -> Tensor:
        network = nn.BatchNorm1d(2)
        network.running_mean.fill_(rank + 1.0)
        SameBuffers(network)._copy()
        return network.running_mean

    assert [found.tolist() for found in in_processes(tmp_path, buffers)] == [[1.0, 1.0], [1.0, 1.0]]


def test_a_killed_process_ends_the_others_with_advice(
    make_network: Callable[..., Any], make_trainer: Callable[..., Any], make_batches: Callable[..., Any], tmp_path: Path
) -> None:
    def train(rank: int) -> tuple[str, float]:
        trainer = make_trainer(make_network(), make_batches(4))
        if rank == 1:
            trainer.add_event_handler(Events.ITERATION_STARTED(once=3), os.kill, os.getpid(), signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(ProcessLostError) as caught:
            trainer.run()
        return str(caught.value), time.monotonic() - started

    (message, seconds), killed = in_processes(tmp_path, train)
    assert killed is None
    assert message.startswith("Process 0 of 2 lost the others after iteration 3: ")
    assert message.endswith("continue with --resume true.")
    assert seconds < 30
