"""The Ignite trainer: one step of any network, with I²Net's loss terms if the network has gates."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys
from torch import Tensor, nn
from torch.distributed import DistError
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from i2net_bundle.hardware import bfloat16
from i2net_bundle.losses.gating import gate_instance_sharpening, mean_gate
from i2net_bundle.losses.orthogonalization import flatten_learners, learner_cosines
from i2net_bundle.networks.contract import logits_and_gates
from i2net_bundle.networks.heads import resize
from i2net_bundle.prediction.memory import uniform_memory_errors
from i2net_bundle.training.auxiliary_head import AuxiliaryHead
from i2net_bundle.training.slices import SliceDataset
from i2net_bundle.workflow.stopping import Stop, graceful_stop

TERMS = "terms"
"""Key of ``engine.state.output``: every loss term and the learners' health, as 0-d tensors."""


_DYING_SECONDS = 10


class WorkerLostError(RuntimeError):
    """A data-loading process was killed."""


class ProcessLostError(RuntimeError):
    """Another process of the same training ended, or did not answer in time."""


class TrainingNetwork(nn.Module):
    """Wrap a network for training. The forward pass also returns gates and auxiliary logits, and DDP can wrap it.

    Args:
        network: any network. Checkpoints contain this network itself, so its parameters keep their names.
        auxiliary: head on a stage of the network's encoder, for an auxiliary loss.
    """

    def __init__(self, network: nn.Module, auxiliary: AuxiliaryHead | None = None) -> None:
        super().__init__()
        self.network, self.auxiliary = network, auxiliary

    def forward(self, image: Tensor) -> tuple[Tensor | None, ...]:
        """Map an image (B, C, H, W) to logits and gates.

        Returns:
            logits (B, O, H, W); gates (B, K, h, w), or None without gates; and auxiliary logits (B, O, H, W), if there
            is an auxiliary head.
        """
        image = image.as_subclass(Tensor)  # a MetaTensor copies its metadata in every operation
        if self.auxiliary is None:
            return logits_and_gates(self.network, image)
        encoded: list[tuple[Tensor, list[Tensor]]] = []
        encoder: Any = self.network.encoder
        hook = encoder.register_forward_hook(lambda _module, _inputs, output: encoded.append(output))
        try:
            logits, gates = logits_and_gates(self.network, image)
        finally:
            hook.remove()
        ((_, levels),) = encoded
        return logits, gates, resize(self.auxiliary(levels), *image.shape[2:])


class SegmentationTrainer(SupervisedTrainer):
    """MONAI's supervised trainer with I²Net's loss terms, bfloat16 on any device, and gradient accumulation.

    ``engine.state.output`` contains image, label, pred (logits), loss and ``terms``. bfloat16 keeps float32's range, so
    the inner gradient of learner orthogonalization does not underflow as it does in float16, and no scaler is needed.

    Args:
        network: a `TrainingNetwork`, or its ``DistributedDataParallel``.
        loss_function: an `I2NetLoss`.
        amp: run the network under bfloat16 autocast if the device supports it; losses stay in float32.
        kwargs: see `monai.engines.SupervisedTrainer`.
    """

    def __init__(self, *, network: nn.Module, loss_function: nn.Module, amp: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("decollate", False)  # no handler needs single items
        super().__init__(network=network, loss_function=loss_function, optim_set_to_none=True, **kwargs)
        self.bfloat16 = amp
        self.stop = Stop()
        self.workers: list[Any] = []
        self.add_event_handler(Events.EPOCH_STARTED, self._set_epoch)
        self.add_event_handler(Events.GET_BATCH_STARTED, self._remember_workers)
        self.add_event_handler(Events.ITERATION_COMPLETED, self._stop_between_steps)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._stop_between_epochs)

    def run(self) -> None:  # type: ignore[override]
        """Train; SIGTERM and SIGINT end the run after the current optimizer step, or after a validation in progress.

        Raises:
            Stopped: the run was stopped before its end.
            WorkerLostError: a process of the data loader was killed.
            ProcessLostError: another process of the training ended, or did not answer in time.
            torch.OutOfMemoryError: memory does not suffice for a batch.
        """
        with graceful_stop() as self.stop, self._naming_lost_processes(), self._naming_lost_workers():
            super().run()
            done, per_epoch = self.state.iteration, self.state.epoch_length or 1
            if done < per_epoch * (self.state.max_epochs or 1):
                self.stop.exit_if_requested(
                    f"{done // per_epoch} of {self.state.max_epochs} epochs and {done % per_epoch} of {per_epoch} "
                    "iterations of the next one are done. Continue with --resume true."
                )

    @contextlib.contextmanager
    def _naming_lost_workers(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, EOFError, ConnectionError) as cause:
            lost = self._lost_workers(cause)
            if not lost:
                raise
            dataset = getattr(self.data_loader, "dataset", None)
            names = [dataset.last_of(process) for process in lost] if isinstance(dataset, SliceDataset) else []
            shown = ", ".join(filter(None, names)) or "its first slice"
            raise WorkerLostError(
                f"A data-loading process was killed while it read {shown}, after iteration {self.state.iteration}. If "
                "memory was short, lower num_workers (0 loads in the main process); else check that case with i2net "
                "check. Earlier checkpoints are intact: continue with --resume true."
            ) from cause

    @contextlib.contextmanager
    def _naming_lost_processes(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as cause:
            if idist.get_world_size() == 1 or not _is_of_communication(cause):
                raise
            raise ProcessLostError(
                f"Process {idist.get_rank()} of {idist.get_world_size()} lost the others after iteration "
                f"{self.state.iteration}: one of them was killed, failed or did not answer in time. Look for the "
                "message of that one above, or in the log of its node. Earlier checkpoints are intact: continue with "
                "--resume true."
            ) from cause

    def _set_epoch(self) -> None:
        batches = getattr(self.data_loader, "batch_sampler", None)
        if isinstance(batches, DistributedSampler):  # MONAI looks at the sampler of single items alone
            batches.set_epoch(self.state.epoch)

    def _remember_workers(self) -> None:
        self.workers = getattr(self._dataloader_iter, "_workers", [])

    def _lost_workers(self, cause: Exception) -> list[int]:
        """Return the ids of the data-loading processes that were killed, if ``cause`` is about them."""
        if not isinstance(
            cause, RuntimeError
        ):  # a process that dies while it sends a batch closes its connection first
            try:
                wait([worker.sentinel for worker in self.workers], timeout=_DYING_SECONDS)
                for worker in self.workers:
                    worker.join(0.1)
                return [worker.pid for worker in self.workers if worker.exitcode]
            except RuntimeError as told_by_pytorch:  # raised by its signal handler
                cause = told_by_pytorch
        match = re.match(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", str(cause))
        return [int(process) for process in match[1].split(",")] if match else []

    def _stop_between_steps(self) -> None:
        _, _, is_last = self._accumulation_group()
        if is_last and self.state.iteration % self.state.epoch_length:  # an epoch ends with its validation and record
            self._stop_if_requested()

    def _stop_between_epochs(self) -> None:
        if self.state.epoch < self.state.max_epochs:
            self._stop_if_requested()

    def _stop_if_requested(self) -> None:
        requested = self.stop.requested
        if idist.get_world_size() > 1:  # all processes stop after the same step
            requested = bool(idist.all_reduce(int(requested), "MAX"))
        if requested:
            self.terminate(skip_completed=True)

    def _iteration(self, engine: SegmentationTrainer, batchdata: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        inputs, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        group, is_first, is_last = self._accumulation_group()
        engine.network.train()
        if is_first:
            engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
        output = engine.state.output = {CommonKeys.IMAGE: inputs, CommonKeys.LABEL: targets}

        with self._gradient_sync(is_last), self._advising_on_memory(inputs):
            with bfloat16(inputs.device.type, enabled=self.bfloat16):
                outputs = engine.inferer(inputs, engine.network)
            logits, gates = outputs[:2]
            output[CommonKeys.PRED] = logits.detach()
            engine.fire_event(IterationEvents.FORWARD_COMPLETED)
            terms = engine.loss_function(outputs, targets)
            loss = terms["loss"]
            self._stop_unless_finite(loss, "loss", terms, batchdata)
            output[CommonKeys.LOSS] = loss.item()
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
            (loss / group).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)

        output[TERMS] = {name: term.detach() for name, term in terms.items()}
        if gates is not None:
            output[TERMS] |= self._health(gates.detach(), terms, is_first)
        if is_last:
            gradients = [p.grad for p in engine.network.parameters() if p.grad is not None]
            output[TERMS]["gradient_norm"] = gradient_norm = torch.nn.utils.get_total_norm(gradients)
            self._stop_unless_finite(gradient_norm, "gradient", terms, batchdata)
            engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output

    @contextlib.contextmanager
    def _advising_on_memory(self, images: Tensor) -> Iterator[None]:
        try:
            with uniform_memory_errors():
                yield
        except torch.OutOfMemoryError as cause:
            size, half = len(images), max(1, len(images) // 2)
            advice = (
                f"Set batch_size to {half} and accumulation_steps to {self.accumulation_steps * size // half}, which "
                "keeps the images per optimizer step, or set amp to true on a GPU"
                if size > 1
                else "Set a smaller image_size"
            )
            raise torch.OutOfMemoryError(
                f"Memory does not suffice for a batch of {size} images of {images.shape[-2]}x{images.shape[-1]} at "
                f"iteration {self.state.iteration}. {advice}, and start a new run. Earlier checkpoints are intact."
            ) from cause

    def _accumulation_group(self) -> tuple[int, bool, bool]:
        """Size of the group of batches that share one optimiser step, and whether this is its first or last."""
        position = (self.state.iteration - 1) % self.state.epoch_length
        start = position - position % self.accumulation_steps
        group = min(self.accumulation_steps, self.state.epoch_length - start)
        return group, position == start, position == start + group - 1

    def _gradient_sync(self, is_last: bool) -> contextlib.AbstractContextManager:
        """Synchronise gradients between processes once per group."""
        if isinstance(self.network, DistributedDataParallel) and not is_last:
            return self.network.no_sync()
        return contextlib.nullcontext()

    def _stop_unless_finite(self, value: Tensor, what: str, terms: dict[str, Tensor], batch: dict[str, Any]) -> None:
        if torch.isfinite(value):
            return
        shown = ", ".join(f"{name} {term.item():.4g}" for name, term in terms.items())
        raise FloatingPointError(
            f"The {what} is not finite at iteration {self.state.iteration} ({shown}). "
            f"Batch: {', '.join(batch['case'])}. The weights were not changed, and earlier checkpoints are intact. "
            "Check these cases, or lower learning_rate."
        )

    def _health(self, gates: Tensor, terms: dict[str, Tensor], is_first: bool) -> dict[str, Tensor]:
        """Mean gate per learner, mean gate entropy, and mean |cos| between learners' gradients."""
        gates = gates.float()
        health = {f"mean_gate_{k}": value for k, value in enumerate(mean_gate(gates))}
        health["gate_entropy"] = gate_instance_sharpening(gates)
        learners: Any = getattr(self.loss_function, "learners", ())
        if gates.shape[1] > 1 and learners and "learner_cosine" not in terms and is_first:
            # without the penalty, the learners' .grad comes from the segmentation loss alone; later batches of a
            # group add to it
            gradients = _learner_grads(learners)
            health["learner_cosine"] = learner_cosines(flatten_learners(gradients)).abs().mean()
        return health


def _learner_grads(learners: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [(weight.grad.float(), bias.grad.float()) for weight, bias in learners]  # type: ignore[union-attr]


def _is_of_communication(error: RuntimeError) -> bool:
    """Whether an error is about other processes: NCCL has errors of its own, Gloo names itself or its connection."""
    return isinstance(error, DistError) or bool(re.search(r"gloo|Connection closed by peer", str(error)))
