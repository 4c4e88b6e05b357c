"""The plane kernels for training: they read the model's own parameters, which get the gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize, prune

from leanline.compaction import plan_compaction
from leanline.compaction.build import build
from leanline.compaction.structure import as_arguments
from leanline.errors import ModelError
from leanline.graph import trace_program
from leanline.graph.program import Program
from leanline.kernels.program import PlaneProgram
from leanline.masks import Mask, baked_copy, get_channel_masks
from leanline.masks.slots import find_slots, hooks
from leanline.runtime.builder import Numbers
from leanline.runtime.choose import usual
from leanline.runtime.gather import Gather
from leanline.runtime.parse import Affine, note_shapes
from leanline.runtime.partition import partition
from leanline.runtime.planes import Planes
from leanline.runtime.region import build_program
from leanline.types import ExampleInputs

Images = Float[Tensor, "batch _ _ _"]


class SharedPlaneNetwork(nn.Module):
    """A masked network on the plane kernels, forward and backward.

    Only kept filters are computed. Made anew whenever masks change.

    Args:
        model: the network, with its masks.
        example_inputs: one picture tensor as the network gets it.
        threads: number of threads.

    Raises:
        ModelError: the kernels cannot run the whole network, or a parameter is computed by an
            old-style hook that they do not follow.
    """

    def __init__(self, model: nn.Module, example_inputs: ExampleInputs, threads: int) -> None:
        super().__init__()
        program = trace_program(model, example_inputs)
        planes, numbers, names = _numbered(model, program, example_inputs)
        self.planes = Planes(planes, threads)
        self.model = model
        readers = _readers(model, program.tensors)
        self._readers = [readers(name, _stored) for name in names]
        self._gather = Gather(numbers)

    def forward(self, images: Images) -> Images:
        """Compute the network; differentiable in images and parameters."""
        out: Tensor = self.planes([images], self._gather(*(read() for read in self._readers)))[0]
        return out


def _numbered(
    model: nn.Module, program: Program, example_inputs: ExampleInputs
) -> tuple[PlaneProgram, Numbers, list[str]]:
    """A plane program whose numbers are places in the concatenation of the named parameters.

    The network is compacted and planned with numbers in place of its weights, 1, 2, 3, ..., and 0
    where a mask prunes: so the plan says of each of its numbers where it came from.
    """
    masks = get_channel_masks(model)
    names = [
        name
        for operation in program.operations
        if operation.kind == "convolution"
        for name in operation.parameters.values()
    ]
    names = list(dict.fromkeys(names))
    tensors, count = dict(program.tensors), 0
    for name in names:
        size = program.tensors[name].numel()
        ids = torch.arange(count + 1, count + size + 1, dtype=torch.float64)
        ids = ids.reshape(program.tensors[name].shape)
        kept = program.kept.get(name, masks.get(name))
        if kept is not None:
            ids = ids * kept.reshape(*kept.shape, *[1] * (ids.ndim - kept.ndim)).to(ids)
        tensors[name] = ids
        count += size
    if count >= 1 << 24:
        raise ModelError(f"the network has {count} weights, too many for shared plane kernels")
    tensors = {  # indices stay integers
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    numbered = dataclasses.replace(program, tensors=tensors)
    arguments = as_arguments(example_inputs)
    plain = baked_copy(model).eval()
    small = build(plain, numbered, plan_compaction(numbered), arguments).module
    note_shapes(small, arguments)
    plan = partition(small, usual(small).keys())
    left = [node for node in plan.stages if node.op.startswith("call")]
    if left or len(plan.regions) != 1 or len(plan.regions[0].outputs) != 1:
        named = ", ".join(_said(node) for node in left[:3])
        raise ModelError(f"the plane kernels cannot train the whole network: {named or 'outputs'}")
    if any(isinstance(parsed, Affine) for parsed in plan.regions[0].nodes.values()):
        raise ModelError("the plane kernels cannot train the whole network: it has a batch norm")
    found, numbers, _ = build_program(plan.regions[0], plan.padding, {})
    return found, numbers, names


def _said(node: fx.Node) -> str:
    """An operation as its author knows it."""
    return node.target if isinstance(node.target, str) else node.target.__name__


Get = Callable[[nn.Module, str], Tensor]


def _readers(
    model: nn.Module, tensors: Mapping[str, Tensor]
) -> Callable[[str, Get], Callable[[], Tensor]]:
    """For a name, a function that reads its present value so that gradients reach the model."""
    slots = find_slots(model)
    buffers = dict(model.named_buffers())

    def reader(name: str, get: Get) -> Callable[[], Tensor]:
        if name not in slots:
            return partial(_value, buffers.get(name, tensors[name]))
        module, attribute = slots[name].holders[0]
        hook = hooks(module).get(attribute, (0, None))[1]
        if isinstance(hook, prune.BasePruningMethod):
            return partial(hook.apply_mask, module)
        if hook is not None:
            raise ModelError(
                f"{name} is computed by {type(hook).__name__}, an old-style hook; the "
                "parametrisations of torch.nn.utils.parametrizations are understood"
            )
        value = get(module, attribute)
        # a parameter itself is the same object at every step
        return partial(_value, value) if value.is_leaf else partial(get, module, attribute)

    return reader


def _value(tensor: Tensor) -> Tensor:
    return tensor


def _stored(module: nn.Module, attribute: str) -> Tensor:
    """The parameter below a mask of filters (a plan reads kept ones only), or what it gives."""
    stacks = getattr(module, "parametrizations", None)
    if isinstance(stacks, nn.ModuleDict) and attribute in stacks:
        stack = stacks[attribute]
        assert isinstance(stack, parametrize.ParametrizationList)
        if all(isinstance(part, Mask) and part.mask.shape[2:].numel() == 1 for part in stack):
            original = stack.original
            assert isinstance(original, Tensor)
            return original
    value: Tensor = getattr(module, attribute)
    return value
