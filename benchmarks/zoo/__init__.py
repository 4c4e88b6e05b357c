"""Any list of networks, pruned and compacted: sizes, times, exactness, and another pruner beside.

`python -m benchmarks.zoo --networks FILE.py --out results.json` measures,
`python -m benchmarks.zoo --render results.json` writes the tables as Markdown.
"""
