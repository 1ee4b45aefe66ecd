"""The implicit decoder alone, in evaluation."""

from __future__ import annotations

import torch

from benchmarks.cases import PLAIN
from benchmarks.measuring import UNIT, Setting, Table, alternating, in_own_process, peak_extra_mb
from i2net_bundle.networks import ImplicitDecoder
from i2net_bundle.networks.fast import accelerate

TITLE = "Decoder"
WIDTHS = {"gate": 128, "first": 128, "second": 64, "level": 64}


def make(form: str, num_learners: int = 3) -> torch.nn.Module:
    """The GlaS decoder in one of its forms."""
    torch.manual_seed(0)
    decoder = ImplicitDecoder(num_learners=num_learners).eval()
    return decoder if form == PLAIN else accelerate(decoder)


def features(batch: int, side: int) -> list[torch.Tensor]:
    """Levels at 1/4 to 1/32 of an image's side."""
    return [torch.randn(batch, 64, side >> i, side >> i) for i in (2, 3, 4, 5)]


@torch.no_grad()
def peak(form: str, batch: int, side: int, num_learners: int) -> float:
    """Peak extra memory of one evaluation, in MB."""
    decoder, levels = make(form, num_learners), features(batch, side)
    decoder([level[:, :, :2, :2] for level in levels])  # libraries allocate on their first call
    return peak_extra_mb(lambda: decoder(levels))


def macs(batch: int, side: int, num_learners: int, plain: bool) -> float:
    """Multiply-accumulates of the matrix products, at scale ratios 1, 2, 4 and 8."""
    points, width = batch * (side // 4) ** 2, WIDTHS["level"]
    outputs = WIDTHS["gate"] + num_learners * WIDTHS["first"]
    rest = WIDTHS["gate"] * num_learners + WIDTHS["first"] * num_learners * WIDTHS["second"]
    if plain:
        return points * (4 * (width + 2) * outputs + rest)
    return points * ((width + 8) * outputs + width * outputs * (1 / 4 + 1 / 16 + 1 / 64) + rest)


def run(setting: Setting) -> list[Table]:
    """Compare with the plain form: time, share of the machine's rate, memory; growth with side, batch and K."""
    side = setting.size(512)
    rate = _product_rate()
    cases = [(2, side, 3)]
    cases += [(2, side, k) for k in (1, 4, 6, 8)] + [(b, side, 3) for b in (1, 4)]
    cases += [(2, s, 3) for s in (128, 256, 1024)]
    if setting.quick:
        cases = cases[:2]
    rows = []
    for batch, case_side, num_learners in cases:
        ours, plain, levels = make("", num_learners), make(PLAIN, num_learners), features(batch, case_side)

        def in_bfloat16(decoder: torch.nn.Module = ours, levels: list[torch.Tensor] = levels) -> None:
            with torch.autocast("cpu", torch.bfloat16):
                decoder(levels)

        functions = {
            "ours": lambda decoder=ours, levels=levels: decoder(levels),
            "plain": lambda decoder=plain, levels=levels: decoder(levels),
            "bfloat16": in_bfloat16,
        }
        with torch.no_grad():
            seconds = alternating(functions, 2 * setting.rounds + 1, f"decoder {batch}×{case_side}², K {num_learners}")
        needed = macs(batch, case_side, num_learners, plain=False)
        peaks = [in_own_process(peak, form, batch, case_side, num_learners) for form in ("", PLAIN)]
        rows.append(
            [
                f"{batch}×{case_side}²",
                str(num_learners),
                f"{1e3 * seconds['ours']:.0f}",
                f"{1e3 * seconds['plain']:.0f}",
                f"{seconds['plain'] / seconds['ours']:.2f}",
                f"{seconds['plain'] / seconds['bfloat16']:.2f}",
                f"{1e3 * seconds['ours'] / batch / seconds[UNIT]:.2f}",
                f"{needed / seconds['ours'] / rate:.0%}",
                f"{1e3 * needed / rate:.0f}",
                f"{peaks[0]:.0f}",
                f"{peaks[1]:.0f}",
                f"{peaks[0] / peaks[1]:.2f}",
            ]
        )
    header = ["image", "K", "ms", "plain, ms", "ratio", "ratio, bfloat16", "per image, U/1000", "share of rate"]
    header += ["floor, ms", "extra memory, MB", "plain, MB", "ratio"]
    note = (
        f"Evaluation in float32 on the features of images of that size. Rate: {rate / 1e9:.0f} GMAC/s, measured on "
        "products of 2048×2048 matrices. Floor: the decoder's own multiply-accumulates at that rate."
    )
    return [Table("Decoder alone", header, rows, note)]


def _product_rate() -> float:
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2048**3 / alternating({"product": lambda: left @ right}, 3, "rate of products")["product"]
