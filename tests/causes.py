"""The cause of an error that MONAI wraps."""

from __future__ import annotations


def message_of(error: BaseException) -> str:
    """Message of the first error in the chain, which a command line shows last."""
    return str(error) if error.__cause__ is None else message_of(error.__cause__)
