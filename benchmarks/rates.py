"""What the machine can do: matrix products, convolutions, copies, and the cost of bfloat16."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from benchmarks.measuring import UNIT, Setting, Table, alternating
from i2net_bundle.hardware import multiplies_bfloat16

TITLE = "Rates of the machine"


@torch.no_grad()
def run(setting: Setting) -> list[Table]:
    """Measured rates: the floor of everything else."""
    n = 256 if setting.quick else 2048
    left, right, source = torch.randn(n, n), torch.randn(n, n), torch.randn(n, 16 * n)
    target = torch.empty_like(source)
    image, weight = torch.randn(1, 64, 28, 28), torch.randn(64, 64, 3, 3)
    functions = {
        "product": lambda: left @ right,
        "copy": lambda: target.copy_(source),
        "small": lambda: F.conv2d(image, weight, padding=1),
        "small, bfloat16": lambda: F.conv2d(image.bfloat16(), weight.bfloat16(), padding=1),
    }
    seconds = alternating(functions, setting.rounds, "rates")
    rows = [
        ["matrix product, GMAC/s", f"{n**3 / seconds['product'] / 1e9:.1f}"],
        ["3×3 convolution 64 to 64 at 224², GMAC/s", f"{1e3 / seconds[UNIT]:.1f}"],
        ["U, s", f"{seconds[UNIT]:.1f}"],
        ["copy, GB/s read and written", f"{2 * source.nbytes / seconds['copy'] / 1e9:.1f}"],
        [
            "convolution in bfloat16, time relative to float32",
            f"{seconds['small, bfloat16'] / seconds['small']:.1f}",
        ],
    ]
    has = "has" if multiplies_bfloat16("cpu") else "has no"
    note = f"The processor {has} bfloat16 instructions."
    return [Table("Measured rates", ["what", "figure"], rows, note)]
