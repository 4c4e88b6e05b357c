"""Make a compact network work at every size at which the model does, and see that it does."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from torch import fx, nn

from leanline.compaction.build import Built, build, plan_again
from leanline.compaction.free_sizes import Filler
from leanline.compaction.holes import DifferentError, find_holes, shapes_of
from leanline.compaction.plan import plan_compaction
from leanline.compaction.resize import Resizing, Trial, find_trials
from leanline.compaction.structure import run, tensors_of
from leanline.compaction.verify import TOLERANCE, compare
from leanline.errors import ModelError
from leanline.graph import trace_program
from leanline.graph.agreement import draw_like

log = logging.getLogger(__name__)

ANY = "any"
"""What is said of a network that works at every size at which its model works."""


@dataclass(frozen=True, eq=False)
class Sized:
    """A compact network, and at which sizes it works.

    Attributes:
        module: the network.
        built: what it was made from.
        other: what the model was traced with once more to find the numbers that are sizes; None if
            there are none, or if they stay as they are.
        sizes: `ANY`, or in words what is fixed and why.
    """

    module: fx.GraphModule
    built: Built
    other: tuple[Any, ...] | None
    sizes: str


def free_sizes(model: nn.Module, base: Built) -> Sized:
    """Find the sizes in a compact network, and let it read them from its inputs.

    The network is run at other sizes as it is. Where that goes wrong the model is traced at another
    size too; the two graphs must be the same but for numbers, and these become expressions of sizes
    of tensors. The result counts if it computes what the model does at a third size.

    Args:
        model: in eval mode, without masks or other parametrisations.
        base: its compact network at the example's size.
    """
    search = _Search(model, base)
    for trial in find_trials(base.arguments):
        found = search.attempt(trial)
        if found is not None:
            return found
    return Sized(base.module, base, None, f"the example's size only: {search.reason}")


def unite(base: Built, model: nn.Module, other: tuple[Any, ...]) -> fx.GraphModule:
    """The network that works at two sizes.

    Args:
        base: the compact network at one size.
        model: what it was made from.
        other: the arguments at the other size.

    Raises:
        DifferentError: there is none.
        ModelError: the model cannot be traced at the other size.
    """
    program = trace_program(model, other)
    second = build(model, program, plan_again(base, program), other)
    holes = find_holes(base.module, second.module)
    if not holes:
        return base.module
    shapes = shapes_of(base.module, base.arguments)
    there = shapes_of(second.module, other)
    nodes = zip(base.module.graph.nodes, second.module.graph.nodes, strict=True)
    again = {one: there[two] for one, two in nodes if two in there}
    return Filler(base.module, (shapes, again), holes).run().eval()


class _Search:
    """Attempts at other sizes, and why the last one failed.

    Args:
        model: the model.
        base: its compact network.
    """

    def __init__(self, model: nn.Module, base: Built) -> None:
        self._model = model
        self._base = base
        self._works = False
        self.reason = "the model worked at no other size that was tried"

    def attempt(self, trial: Trial) -> Sized | None:
        """One trial; None if it failed."""
        if self._works and trial.what != "batch":
            return None  # the model works at other sizes; more of them would fail as well
        other = trial.other.apply(self._base.arguments)
        if not self._runs(other):
            return None
        self._works = self._works or trial.what != "batch"
        sizes = ANY if not trial.what else f"{_WORDS[trial.what]}: {self.reason}"
        points = [other, *self._point(trial.check)]
        if self._agrees(self._base.module, points, quiet=True):
            return Sized(self._base.module, self._base, None, sizes)
        found = self._united(self._base, other, points)
        for pair in trial.pairs:
            found = found or self._pair(pair, points)
        if found is None:
            return None
        built, second, module = found
        return Sized(module, built, second, sizes)

    def _pair(
        self, pair: tuple[Resizing, Resizing], points: list[tuple[Any, ...]]
    ) -> tuple[Built, tuple[Any, ...], fx.GraphModule] | None:
        """Two odd sizes, where the model takes more steps than at the example's."""
        one, other = (resizing.apply(self._base.arguments) for resizing in pair)
        if not (self._runs(one) and self._runs(other)):
            return None
        try:
            program = replace(trace_program(self._model, one), kept=self._base.program.kept)
            built = build(self._model, program, plan_compaction(program), one)
        except (ModelError, DifferentError) as error:
            self.reason = str(error)
            return None
        return self._united(built, other, [one, self._base.arguments, *points])

    def _united(
        self, built: Built, other: tuple[Any, ...], points: list[tuple[Any, ...]]
    ) -> tuple[Built, tuple[Any, ...], fx.GraphModule] | None:
        try:
            module = unite(built, self._model, other)
        except (ModelError, DifferentError) as error:
            self.reason = str(error)
            return None
        if self._agrees(module, [built.arguments, other, *points], quiet=False):
            return built, other, module
        return None

    def _point(self, check: Resizing) -> list[tuple[Any, ...]]:
        point = check.apply(self._base.arguments)
        return [point] if self._runs(point) else []

    def _runs(self, arguments: tuple[Any, ...]) -> bool:
        """Whether the model takes arguments of these sizes."""
        try:
            run(self._model, draw_like(arguments))
        except Exception as error:
            log.debug("the model fails at %s: %s", _shapes(arguments), error)
            return False
        return True

    def _agrees(self, module: nn.Module, points: list[tuple[Any, ...]], quiet: bool) -> bool:
        for point in points:
            try:
                _, error = compare(self._model, module, draw_like(point))
            except Exception as problem:
                reason = f"{type(problem).__name__} at {_shapes(point)}"
            else:
                if error <= TOLERANCE:
                    continue
                reason = f"it deviates from the model at {_shapes(point)}"
            if not quiet:
                self.reason = reason
            return False
        return True


_WORDS = {
    "pictures": "any height and width, and the example's batch",
    "batch": "any batch, and the example's height and width",
}


def _shapes(arguments: tuple[Any, ...]) -> str:
    return ", ".join(" x ".join(map(str, tensor.shape)) for tensor in tensors_of(arguments))
