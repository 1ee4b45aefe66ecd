"""Run the comparisons and write their tables: python -m benchmarks [--quick] [--only NAME] [--output FILE].

Tables are printed as they are measured, and kept as JSON beside the output: --resume continues an interrupted run.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import json
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import Setting, Table, machine

NAMES = (
    "rates",
    "decoder",
    "training",
    "inference",
    "alignment",
    "volumes",
    "slides",
    "loader",
    "scoring",
    "cohorts",
    "growth",
)
CHANGES = Path(__file__).with_name("changes.md")
"""What was measured once, when the changes were made: the end of the page."""
AVAILABLE = [name for name in NAMES if importlib.util.find_spec(f"benchmarks.{name}")]


def report(results: dict) -> str:
    """The Markdown page of all results."""
    lines = [
        "# Benchmarks",
        "",
        "`make benchmark` writes this page. The forms that are compared run alternately, round by round, in one "
        "process; the figures are medians over the rounds. U is the time of 1 TMAC of 3×3 convolution (64 to 64 "
        "channels at 224²), measured in the same rounds, so figures in U can be compared between machines and moments. "
        "Extra memory is the most that a fresh process uses during the work, minus what it used before.",
        "",
        *(f"- {name}: {value}" for name, value in results["machine"].items()),
        "",
    ]
    for name, tables in results["tables"].items():
        lines += [f"## {importlib.import_module(f'benchmarks.{name}').TITLE}", ""]
        lines += [Table(**table).markdown() for table in tables]
    lines.append(CHANGES.read_text(encoding="utf-8"))
    return "\n".join(lines)


def main() -> None:
    """Run the comparisons and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="smallest sizes, one round: only to see that everything runs"
    )
    parser.add_argument("--only", nargs="+", choices=AVAILABLE, default=AVAILABLE, help="comparisons to run")
    parser.add_argument(
        "--output", type=Path, default=Path("docs/benchmarks.md"), help="the page; the JSON file is written beside it"
    )
    parser.add_argument("--work-dir", type=Path, help="folder for volumes and cache (default: a temporary one)")
    parser.add_argument("--volumes", type=int, default=3, help="CT volumes that the loader reads (default 3)")
    parser.add_argument("--resume", action="store_true", help="keep the tables that the JSON file contains")
    arguments = parser.parse_args()
    kept = arguments.output.with_suffix(".json")
    results = {"machine": machine(), "tables": {}}
    if arguments.resume and kept.is_file():
        results = json.loads(kept.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        setting = Setting(arguments.quick, arguments.work_dir or Path(temporary), arguments.volumes)
        for name in arguments.only:
            if arguments.resume and name in results["tables"]:
                continue
            started = time.perf_counter()
            tables = importlib.import_module(f"benchmarks.{name}").run(setting)
            results["tables"][name] = [dataclasses.asdict(table) for table in tables]
            print("\n".join(table.markdown() for table in tables), flush=True)
            print(f"{name}: {time.perf_counter() - started:.0f} s\n", flush=True)
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
            arguments.output.write_text(report(results), encoding="utf-8")


if __name__ == "__main__":
    main()
