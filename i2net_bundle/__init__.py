"""I²Net as a MONAI bundle: implicit-parameterized implicit functions for medical image segmentation."""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from i2net_bundle.prediction.predict import predict as predict

__all__ = ["predict"]


def __dir__() -> list[str]:
    """List `predict` as well, which is imported at its first use."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import `predict` at its first use, because the import takes seconds."""
    if name == "predict":
        from i2net_bundle.prediction.predict import predict

        return predict
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
