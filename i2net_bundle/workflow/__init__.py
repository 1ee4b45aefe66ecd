"""What every workflow shares: its configuration, the folder and settings of its run, its errors."""

from i2net_bundle.workflow.config_check import check_config
from i2net_bundle.workflow.errors import show_root_cause
from i2net_bundle.workflow.run_folders import check_output_dir, check_results_dir, set_run_aside
from i2net_bundle.workflow.run_settings import SettingsRecord

__all__ = [
    "SettingsRecord",
    "check_config",
    "check_output_dir",
    "check_results_dir",
    "set_run_aside",
    "show_root_cause",
]
