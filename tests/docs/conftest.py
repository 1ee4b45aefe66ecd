"""Examples of the documentation change registries on import, so only their tests import them."""

collect_ignore_glob = ["example_*.py"]
