"""Run by test_training.py in a process of its own, where no call is checked: the checkers'
wrappers are nothing that torch.compile can follow."""

import sys
from pathlib import Path

import torch
from torch.utils._pytree import tree_leaves, tree_structure

sys.path.insert(0, str(Path(__file__).parent.parent))

from compaction.random_nets import randomise
from compaction.test_sizes import MODELS, pruned
from compaction.test_structure import OUTPUTS, network
from leanline.compaction import compact

for name in ("unet4", "padded to a multiple", "filled"):
    small = compact(pruned(randomise(MODELS[name][0](), 0)), torch.zeros(1, 2, 24, 24))
    for dynamic in (False, True):
        torch._dynamo.reset()
        compiled = torch.compile(small, fullgraph=True, backend="eager", dynamic=dynamic)
        with torch.no_grad():
            for shape in [(1, 2, 24, 24), (2, 2, 27, 32)]:
                images = torch.randn(shape)
                torch.testing.assert_close(compiled(images), small(images))
for name in ("a dictionary", "a named tuple", "a class"):
    small = compact(network(OUTPUTS[name]), torch.zeros(1, 2, 8, 8))
    compiled = torch.compile(small, fullgraph=True, backend="aot_eager")
    images = torch.randn(1, 2, 8, 8)
    want, have = small(images), compiled(images)
    assert tree_structure(want) == tree_structure(have), name
    sum(leaf.sum() for leaf in tree_leaves(have)).backward()
print("done")
