"""The example of docs/evaluation.md, "Add a metric"."""

from i2net_bundle.metrics import MaskPair, Metric, register


def relative_volume_difference(pair: MaskPair) -> float:
    """Predicted minus true volume, as a share of the true volume."""
    return (pair.pred_voxels - pair.label_voxels) / pair.label_voxels


register(
    Metric(
        "relative_volume_difference",
        relative_volume_difference,
        label="relative volume difference",
        protocol="size",
        invented=float("nan"),  # undefined without a true volume
        absent=float("nan"),
    )
)
