"""Networks as programs and channel graphs, liveness, and longest chains."""

from leanline.graph.chains import ChainOrder, Selection, longest_chains, strongest_path
from leanline.graph.channel_graph import ChannelGraph, EdgeBlock, Edges
from leanline.graph.ignore import Ignore, resolve_ignored
from leanline.graph.liveness import DEAD_VARIANCE, Liveness, find_live, find_untouched
from leanline.graph.program import KINDS, Frozen, Operation, Program
from leanline.graph.pruning_graph import FilterBlock, GraphReport, PruningGraph, Weigher
from leanline.graph.shortest import fewest_filters
from leanline.graph.trace import following_once, trace_program

__all__ = [
    "DEAD_VARIANCE",
    "KINDS",
    "ChainOrder",
    "ChannelGraph",
    "EdgeBlock",
    "Edges",
    "FilterBlock",
    "Frozen",
    "GraphReport",
    "Ignore",
    "Liveness",
    "Operation",
    "Program",
    "PruningGraph",
    "Selection",
    "Weigher",
    "fewest_filters",
    "find_live",
    "following_once",
    "find_untouched",
    "longest_chains",
    "resolve_ignored",
    "strongest_path",
    "trace_program",
]
