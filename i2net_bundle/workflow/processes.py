"""What ``torchrun`` tells its processes."""

from __future__ import annotations

import os


def require_one_process(work: str = "Evaluation") -> None:
    """Check that this process is not one of several that ``torchrun`` started.

    Args:
        work: name of the work, for the message.

    Raises:
        ValueError: there are several processes.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count.isdigit() and int(count) > 1:
        raise ValueError(
            f"{work} runs in one process, and WORLD_SIZE is {count}. Start it without torchrun; only training can use "
            "several processes."
        )


def restarts_allowed() -> bool:
    """Whether ``torchrun --max-restarts`` may start this process again, with the same command line."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def require_joinable_restarts() -> None:
    """Check that processes that ``torchrun`` starts again can find each other.

    Where ``torchrun`` keeps one store for all its starts, as in PyTorch 2.13, the store contains the addresses of the
    processes that ended, and Gloo tries to connect to these until its timeout.

    Raises:
        ValueError: restarts are allowed, and all starts share one store.
    """
    if restarts_allowed() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise ValueError(
            "torchrun --max-restarts would start processes that wait for those that ended. Set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun."
        )
