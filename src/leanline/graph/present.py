"""Which filters of a traced network are there, whatever said so: a mask or zeros."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from leanline.graph.program import Program


def present_filters(program: Program, name: str) -> Bool[np.ndarray, "rows columns"]:
    """Filters of a weight parameter that are not pruned.

    A mask decides where there is one. Without a mask, filters that are exactly zero are pruned,
    except in a weight that is zero as a whole: that is a layer which is still to be trained.

    Args:
        program: A traced network.
        name: A weight parameter of it.

    Returns:
        True where the filter is there, of `weight.shape[:2]`.
    """
    if name in program.kept:
        return program.kept[name].cpu().numpy()
    weight = program.tensors[name]
    filled = (weight.reshape(*weight.shape[:2], -1) != 0).any(-1).cpu().numpy()
    return filled if filled.any() else np.ones_like(filled)
