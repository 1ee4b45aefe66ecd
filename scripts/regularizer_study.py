"""Train with and without the regularisers, several seeds each, and print gate usage and gradient cosines.

In the checkout: python -m scripts.regularizer_study OUT_DIR --config_file FILES… [any override of the configuration, as
--epochs 10]
"""

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path

SETTINGS = {"on": {"lambda_gs": 0.25, "lambda_lo": 0.25}, "off": {"lambda_gs": 0, "lambda_lo": 0}}


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config_file", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments, overrides = parser.parse_known_args()
    print("| regularisers | seed | Dice | mean gates | gate entropy | mean abs. cosine |\n|---|---|---|---|---|---|")
    for name, weights in SETTINGS.items():
        rows = []
        for seed in range(arguments.seeds):
            run = arguments.out / f"{name}_{seed}"
            if not (run / "model.pt").exists():
                options = {**weights, "seed": seed, "output_dir": run}
                command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file"]
                command += [str(arguments.config_file), *overrides]
                command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with (run / "training.csv").open(newline="") as file:
                last = list(csv.DictReader(file))[-1]
            gates = sorted((float(value) for key, value in last.items() if key.startswith("mean_gate")), reverse=True)
            row = [float(last[key]) for key in ("val_mean_dice", "gate_entropy", "learner_cosine")]
            rows.append(row)
            shown = " / ".join(f"{gate:.2f}" for gate in gates)
            print(f"| {name} | {seed} | {row[0]:.4f} | {shown} | {row[1]:.3f} | {row[2]:.3f} |", flush=True)
        mean = [statistics.mean(column) for column in zip(*rows, strict=True)]
        print(f"| {name} | mean | {mean[0]:.4f} | | {mean[1]:.3f} | {mean[2]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
