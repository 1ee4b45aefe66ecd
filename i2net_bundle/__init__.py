"""I²Net as a MONAI bundle: implicit-parameterized implicit functions for medical image segmentation."""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from i2net_bundle.prediction.predict import predict as predict

__all__ = ["predict"]


def __getattr__(name: str) -> Any:
    """Import `predict` on first use, because importing PyTorch takes seconds."""
    if name == "predict":
        from i2net_bundle.prediction.predict import predict

        return predict
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names of the module, including those imported on first use."""
    return sorted({*globals(), *__all__})
