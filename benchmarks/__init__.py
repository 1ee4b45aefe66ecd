"""Comparisons measured side by side: ``python -m benchmarks``.

Every comparison is a module with ``TITLE`` and ``run(setting) -> list[Table]``; `benchmarks.__main__` names them.
"""
