"""Shared by all workflows: configuration checks, run folders, run records, errors."""

from i2net_bundle.workflow.config_check import check_config
from i2net_bundle.workflow.errors import show_root_cause
from i2net_bundle.workflow.folder_lock import FolderLock
from i2net_bundle.workflow.recorded_network import network_of_run
from i2net_bundle.workflow.resume_settings import result_settings
from i2net_bundle.workflow.run_description import describe_run
from i2net_bundle.workflow.run_folders import check_output_dir, check_results_dir, set_run_aside
from i2net_bundle.workflow.run_records import run_record
from i2net_bundle.workflow.run_settings import SettingsRecord
from i2net_bundle.workflow.running_config import component_settings, training_settings

__all__ = [
    "FolderLock",
    "SettingsRecord",
    "check_config",
    "check_output_dir",
    "check_results_dir",
    "component_settings",
    "describe_run",
    "network_of_run",
    "result_settings",
    "run_record",
    "set_run_aside",
    "show_root_cause",
    "training_settings",
]
