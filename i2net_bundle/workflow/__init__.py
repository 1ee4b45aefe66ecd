"""Shared by all workflows: configuration checks, run folders, run records, errors.

The names below are those that configurations use. Each is imported at its first use, because some import MONAI, which
takes seconds, and the command line needs this package for its messages alone.
"""

import importlib
from typing import Any

_MODULES = {
    "FolderLock": "folder_lock",
    "SettingsRecord": "run_settings",
    "check_config": "config_check",
    "check_output_dir": "run_folders",
    "check_results_dir": "run_folders",
    "component_settings": "running_config",
    "default_weights": "shipped_weights",
    "describe_run": "run_description",
    "network_of_run": "recorded_network",
    "require_joinable_restarts": "processes",
    "result_settings": "resume_settings",
    "run_record": "run_records",
    "set_run_aside": "run_folders",
    "show_root_cause": "errors",
    "training_settings": "running_config",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    """Import a name at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
