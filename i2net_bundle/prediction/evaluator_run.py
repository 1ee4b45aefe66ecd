"""Run the evaluator of a workflow so that a signal stops it between two cases."""

from __future__ import annotations

from pathlib import Path

from ignite.engine import Engine, Events

from i2net_bundle.io.counted import counted
from i2net_bundle.workflow.folder_lock import folder_lock
from i2net_bundle.workflow.processes import require_one_process
from i2net_bundle.workflow.stopping import graceful_stop


def run_evaluator(evaluator: Engine, output_dir: str | Path) -> None:
    """Run an evaluator in a locked folder. SIGTERM and SIGINT stop it after the current case.

    Args:
        evaluator: evaluator whose run has one epoch and one case per iteration.
        output_dir: folder of its results.

    Raises:
        FolderInUseError: another process writes to the folder.
        Stopped: a signal arrived before the last case.
        ValueError: this is one of several processes.
    """
    require_one_process()
    with folder_lock(output_dir), graceful_stop() as stop:

        def stop_between_cases(engine: Engine) -> None:
            if stop.requested and engine.state.iteration < (engine.state.epoch_length or 0):
                engine.terminate(skip_completed=True)

        with evaluator.add_event_handler(Events.ITERATION_COMPLETED, stop_between_cases):
            evaluator.run()
        done, all_cases = evaluator.state.iteration, evaluator.state.epoch_length or 0
        if done < all_cases:
            stop.exit_if_requested(
                f"{done} of {counted(all_cases, 'case')} are done, and {output_dir} contains their results. Run the "
                "same command with --overwrite true to process all of them."
            )
