"""Ratios to a lower bound and to other libraries, measured in one process: ``python -m benchmarks.fit``, say."""
