"""A training step: time and memory of the whole network, each loss on and off, K, batch, and MONAI's networks."""

from __future__ import annotations

import statistics

from benchmarks.cases import OURS, PEERS, PLAIN, TASKS, training_step
from benchmarks.measuring import UNIT, Setting, Table, alternating, in_own_process, peak_extra_mb
from i2net_bundle.hardware import multiplies_bfloat16

TITLE = "Training step"
LOSSES = {
    "segmentation": (0.0, 0.0),
    "and gate shaping": (0.25, 0.0),
    "and learner orthogonalization": (0.0, 0.25),
    "all": (0.25, 0.25),
}


def median_peak(setting: Setting, *step: object) -> float:
    """Median of `peak` over three processes: how much the allocator returns in between varies."""
    return statistics.median(in_own_process(peak, *step) for _ in range(1 if setting.quick else 3))


def peak(name: str, task: str, batch: int, side: int, num_learners: int) -> float:
    """Peak extra memory of one step, in MB."""
    training_step(name, task, 1, 64, num_learners)()  # libraries allocate on their first call
    step = training_step(name, task, batch, side, num_learners)
    return peak_extra_mb(step)


def run(setting: Setting) -> list[Table]:
    """All tables, both tasks."""
    tables = []
    for task in TASKS:
        side = setting.size(TASKS[task][2])
        tables += [_losses(setting, task, side), _learners(setting, task, side), _networks(setting, task, side)]
    return [*tables, _growth(setting)]


def _losses(setting: Setting, task: str, side: int) -> Table:
    steps = {
        f"{name}/{losses}": training_step(name, task, 1, side, weights=weights)
        for losses, weights in LOSSES.items()
        for name in (OURS, PLAIN)
    }
    seconds = alternating(steps, setting.rounds, f"{task}, losses")
    without = seconds[f"{PLAIN}/and gate shaping"]
    rows = []
    for losses in LOSSES:
        ours, plain = seconds[f"{OURS}/{losses}"], seconds[f"{PLAIN}/{losses}"]
        rows.append([losses, f"{ours:.2f}", f"{plain:.2f}", f"{plain / ours:.2f}"])
    added = [(seconds[f"{name}/all"] - seconds[f"{name}/and gate shaping"]) / without for name in (OURS, PLAIN)]
    rows.append(
        [
            "time added by learner orthogonalization, relative to the plain step without it",
            *(f"{a:.0%}" for a in added),
            "",
        ]
    )
    return Table(f"{task} step, 1×{side}², K 3", ["losses", "s", "plain, s", "ratio"], rows)


def _learners(setting: Setting, task: str, side: int) -> Table:
    rows = []
    for num_learners in (1, 3) if setting.quick else (1, 3, 4, 6, 8):
        steps = {name: training_step(name, task, 1, side, num_learners) for name in (OURS, PLAIN)}
        seconds = alternating(steps, setting.rounds, f"{task}, K {num_learners}")
        peaks = [median_peak(setting, name, task, 1, side, num_learners) for name in (OURS, PLAIN)]
        rows.append([str(num_learners), *_beside_plain(seconds, peaks)])
    return Table(f"{task} step with all losses, 1×{side}²", ["K", *_BESIDE_PLAIN], rows)


def _networks(setting: Setting, task: str, side: int) -> Table:
    peers = list(PEERS)[:1] if setting.quick else list(PEERS)
    steps = {name: training_step(name, task, 1, side) for name in (OURS, PLAIN, *peers)}
    if multiplies_bfloat16("cpu"):
        steps[_BFLOAT16] = training_step(OURS, task, 1, side, bfloat16=True)
    seconds = alternating(steps, setting.rounds, f"{task}, networks")
    rows = []
    for name in steps:
        memory = ""
        if name in (OURS, PLAIN, *peers):
            memory = f"{median_peak(setting, name, task, 1, side, 3):.0f}"
        ratio = seconds[PLAIN] / seconds[name]
        rows.append(
            [name, f"{seconds[name]:.2f}", f"{1e3 * seconds[name] / seconds[UNIT]:.0f}", f"{ratio:.2f}", memory]
        )
    note = (
        "I²Net with all its losses, MONAI's networks with the segmentation loss alone. Channels-last if the bundle "
        "trains so on this processor."
    )
    if not multiplies_bfloat16("cpu"):
        note += " No bfloat16 row: this processor has no bfloat16 instructions."
    header = ["network", "s", "U/1000", "speed relative to the plain form", "extra memory, MB"]
    return Table(f"{task} step beside MONAI's networks, 1×{side}²", header, rows, note)


def _growth(setting: Setting) -> Table:
    rows = []
    cases = [("GlaS", 1, 128), ("GlaS", 1, 256), ("GlaS", 4, 256), ("GlaS", 8, 320), ("GlaS", 4, 512)]
    cases += [("Synapse", 4, 112), ("Synapse", 4, 224)]
    for task, batch, side in cases[:1] if setting.quick else cases:
        steps = {name: training_step(name, task, batch, side) for name in (OURS, PLAIN)}
        if multiplies_bfloat16("cpu"):
            steps[_BFLOAT16] = training_step(OURS, task, batch, side, bfloat16=True)
        seconds = alternating(steps, setting.rounds, f"{task}, {batch}×{side}²")
        peaks = [median_peak(setting, name, task, batch, side, 3) for name in (OURS, PLAIN)]
        in_bfloat16 = f"{seconds[PLAIN] / seconds[_BFLOAT16]:.2f}" if _BFLOAT16 in steps else ""
        rows.append([task, f"{batch}×{side}²", *_beside_plain(seconds, peaks), in_bfloat16])
    header = ["task", "images", *_BESIDE_PLAIN, "time ratio, bfloat16"]
    return Table("Growth of a step with image and batch, K 3", header, rows)


_BFLOAT16 = f"{OURS}, bfloat16"
_BESIDE_PLAIN = ["s", "plain, s", "ratio", "extra memory, MB", "plain, MB", "ratio"]


def _beside_plain(seconds: dict[str, float], peaks: list[float]) -> list[str]:
    times = [f"{seconds[OURS]:.2f}", f"{seconds[PLAIN]:.2f}", f"{seconds[PLAIN] / seconds[OURS]:.2f}"]
    return [*times, f"{peaks[0]:.0f}", f"{peaks[1]:.0f}", f"{peaks[0] / peaks[1]:.2f}"]
