"""The notice on pages about phantoms, so that nobody takes computed images for patients."""

from __future__ import annotations

_WORD = "phantom"


def phantom_notice(trained_on: str | None, shown: str | None) -> str:
    """Notice for a page about a run or a data set; empty unless phantoms are involved.

    Args:
        trained_on: name of the training data set, if known.
        shown: name of the data set that the page shows, if known.

    >>> phantom_notice(None, "CT phantoms")
    'Phantoms, not patients: this page shows computed images (CT phantoms).'
    """
    of_training, of_page = (name if name and _WORD in name.lower() else None for name in (trained_on, shown))
    sentences = []
    if of_training:
        sentences.append(f"the network was trained on computed images ({of_training})")
    if of_page:
        sentences.append(f"this page shows computed images ({of_page})")
    if not sentences:
        return ""
    scores = " Its scores say nothing about real images." if of_training else ""
    return f"Phantoms, not patients: {', and '.join(sentences)}.{scores}"
