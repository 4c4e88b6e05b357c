"""The searches, compiled: the gate that counts evaluations, and the optimisers on codes behind it.

Each search is written once. It asks the gate for the time of a code and ends when the gate says so.
Where all times are known (a replay), it runs at full speed. Where they have to be measured, the
gate stops the search at the first code whose time is not known; the caller measures it and runs the
search again from its start, which takes microseconds and, as a search depends on its seed and on
the times only, comes to the same point (`leanline.tuning.optimisers.base`).

Importing the package decorates all of them, so that their cache is in the right place.
"""

from pathlib import Path

from leanline.records.code_cache import code_cache

with code_cache("tuning", Path(__file__).resolve().parent):
    from leanline.tuning.compiled import gate, genetic, local_search, moves, random, swarm

__all__ = ["gate", "genetic", "local_search", "moves", "random", "swarm"]
