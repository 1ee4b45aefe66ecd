"""Comparisons measured side by side: ``python -m benchmarks``.

Each comparison is a module with ``TITLE`` and ``run(setting) -> list[Table]``; `benchmarks.__main__` lists them.
"""
