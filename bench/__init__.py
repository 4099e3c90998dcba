"""Benchmarks: each module writes ``bench/results/<name>.json``; ``make bench BENCH=name``."""
