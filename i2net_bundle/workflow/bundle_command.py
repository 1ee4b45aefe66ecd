"""Command lines of the bundle's workflows, to run them in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from i2net_bundle.tasks import Task
from i2net_bundle.workflow.config_files import bundle_root, config_files


def bundle_command(run_id: str, files: Sequence[str | Path], task: Task, overrides: Mapping[str, object]) -> list[str]:
    """Command line of ``python -m monai.bundle run`` in this environment.

    Args:
        run_id: "training" or "evaluating".
        files: configuration files: names in ``configs/``, or paths.
        task: kind of task, whose metadata is read.
        overrides: values by id, on the command line.
    """
    paths = [str(file) if Path(file).is_absolute() else config_files(str(file))[0] for file in files]
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", str(paths)]
    command += ["--meta_file", *config_files(task.metadata), "--bundle_root", str(bundle_root())]
    return [*command, *(part for name, value in overrides.items() for part in (f"--{name}", str(value)))]
