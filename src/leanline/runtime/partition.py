"""Which parts of a network run on planes: a pure plan, made before anything is changed.

Operations that the plane kernels do, and that hang together, form a region; it runs as one call,
in which values stay planes from operation to operation. All other operations stay PyTorch's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import fx

from leanline.kernels.windows import CONVOLVE, SPREAD
from leanline.runtime.parse import Convolution, Pad, Parsed, Pool, parse, values_read


@dataclass(frozen=True, eq=False)
class Region:
    """Operations that run as one plane program.

    Attributes:
        nodes: the operations, in order, with what they are to the kernels.
        inputs: values from outside, each once.
        outputs: operations whose values are read outside.
    """

    nodes: Mapping[fx.Node, Parsed]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]


@dataclass(frozen=True, eq=False)
class Partition:
    """A network as regions and operations between them.

    Attributes:
        regions: in order of execution.
        stages: for every other operation the number of regions before it.
        padding: what lies around pictures in the regions.
    """

    regions: tuple[Region, ...]
    stages: Mapping[fx.Node, int]
    padding: str

    def __str__(self) -> str:
        lines = [
            f"region {i + 1}: {len(r.nodes)} operations, "
            f"{sum(isinstance(p, Convolution) for p in r.nodes.values())} convolutions"
            for i, r in enumerate(self.regions)
        ]
        named = Counter(str(n.target) for n in self.stages if n.op.startswith("call"))
        others = ", ".join(f"{count} {name}" for name, count in named.most_common(8))
        return "\n".join([*lines, f"in PyTorch: {others or 'nothing'}"])


def partition(network: fx.GraphModule, sparse: Collection[fx.Node]) -> Partition:
    """Find the regions of a network.

    Args:
        network: with shapes noted by `parse.note_shapes`.
        sparse: convolutions that shall run on planes.
    """
    parsed: dict[fx.Node, Parsed] = {}
    for node in network.graph.nodes:
        found = parse(network, node)
        if found is not None and (not isinstance(found, Convolution) or node in sparse):
            parsed[node] = found
    modes = Counter(mode for found in parsed.values() if (mode := _mode(found)))
    padding = modes.most_common(1)[0][0] if modes else "zeros"
    parsed = {n: found for n, found in parsed.items() if _mode(found) in (None, padding)}
    parsed = {
        node: found
        for node, found in parsed.items()
        if not isinstance(found, Pad) or _is_absorbed(node, parsed)
    }
    while True:
        stages = _stages(network, parsed)
        regions = [_region({n: parsed[n] for n in group}) for group in _groups(parsed, stages)]
        useless = [node for region in regions if not _is_worth_it(region) for node in region.nodes]
        if not useless:
            break
        for node in useless:
            del parsed[node]
    order = [stages[next(iter(region.nodes))] for region in regions]
    numbers = {n: sum(s <= stage for s in order) for n, stage in stages.items() if n not in parsed}
    return Partition(tuple(regions), numbers, padding)


def _is_worth_it(region: Region) -> bool:
    """Whether there is something that planes make faster, and somebody reads it."""
    return bool(region.outputs) and any(isinstance(p, Convolution) for p in region.nodes.values())


def _mode(found: Parsed) -> str | None:
    """What has to lie around pictures; None where nothing of it is read."""
    if isinstance(found, Pad):
        return found.mode if any(found.sides) else None
    if isinstance(found, Convolution | Pool) and found.window.kind != SPREAD:
        window = found.window  # the largest value may be among mirrored ones
        return "zeros" if any((window.top, window.left, window.bottom, window.right)) else None
    return None


def _is_absorbed(node: fx.Node, parsed: Mapping[fx.Node, Parsed]) -> bool:
    """Whether only convolutions read a padded value, none of which pads in another way."""
    found = parsed[node]
    assert isinstance(found, Pad)
    readers = [parsed.get(user) for user in node.users]
    if not any(found.sides):
        return True
    return all(
        isinstance(reader, Convolution)
        and reader.window.kind == CONVOLVE
        and (found.mode == "zeros" or _mode(reader) is None)
        for reader in readers
    )


def _stages(network: fx.GraphModule, parsed: Mapping[fx.Node, Parsed]) -> dict[fx.Node, int]:
    """How often one has to leave the planes before an operation can run."""
    stages: dict[fx.Node, int] = {}
    for node in network.graph.nodes:
        before = [
            stages[source] + (node in parsed and source not in parsed)
            for source in node.all_input_nodes
            if node not in parsed or source.op != "get_attr"
        ]
        stages[node] = max(before, default=0)
    return stages


def _groups(parsed: Mapping[fx.Node, Parsed], stages: Mapping[fx.Node, int]) -> list[list[fx.Node]]:
    """Operations of one stage that hang together or read the same value; by stage."""
    leader: dict[tuple[int, fx.Node], tuple[int, fx.Node]] = {}

    def find(item: tuple[int, fx.Node]) -> tuple[int, fx.Node]:
        while (above := leader.setdefault(item, item)) != item:
            item = above
        return item

    for node in parsed:
        for source in values_read(node):
            leader[find((stages[node], source))] = find((stages[node], node))
    groups: dict[tuple[int, fx.Node], list[fx.Node]] = {}
    for node in parsed:
        groups.setdefault(find((stages[node], node)), []).append(node)
    return sorted(groups.values(), key=lambda group: stages[group[0]])


def _region(nodes: dict[fx.Node, Parsed]) -> Region:
    read = [source for node in nodes for source in values_read(node) if source not in nodes]
    outside = [node for node in nodes if any(user not in nodes for user in node.users)]
    return Region(nodes, tuple(dict.fromkeys(read)), tuple(outside))
