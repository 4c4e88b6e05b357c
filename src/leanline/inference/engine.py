"""A network that is made fast for the sizes of pictures that come."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leanline import compaction, runtime
from leanline.compaction.any_size import ANY
from leanline.errors import ModelError
from leanline.graph import trace_program
from leanline.inference.receptive_field import ReceptiveField, receptive_field
from leanline.inference.tiles import check_field
from leanline.masks import baked_copy

log = logging.getLogger(__name__)

_PERIOD = 256  # pixels; a network is looked at on a picture as large as the real one modulo this
_MADE = 8  # compiled networks that are kept, where each size needs its own
Images = Float[Tensor, "batch channels height width"]


class Engine:
    """Runs a network on pictures, compacted and compiled once for all sizes where that works.

    Args:
        network: dense, masked or compacted; not changed.
        channels: of a picture.
        size: height and width of a picture, to look at the network with.
        backend: of `leanline.compile`; "auto" is decided on the first pictures.
        threads: of the kernels.

    Attributes:
        field: how far an output pixel sees.
        outputs: channels of the network's output.
        backend: the one that was chosen.

    Raises:
        ModelError: the network does not run on such pictures, or its output has another size.
    """

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        size: tuple[int, int],
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._network = network.eval() if _is_compact(network) else baked_copy(network).eval()
        self._channels, self._threads, self.backend = channels, threads, backend
        self._made: OrderedDict[tuple[int, int], nn.Module] = OrderedDict()
        self._small: dict[tuple[int, int], nn.Module] = {}
        look = _like(size)
        try:
            self._answer(self._network, torch.zeros((1, channels, *look)))
        except ModelError:
            look = size  # the only one that it takes, perhaps
        small = self._compact(look)
        self.field = self._look(small, look)
        self._everywhere = getattr(small, "meta", {}).get("sizes") == ANY
        if look == size or not self.field.fixed:
            self._small[self._class_of(size)] = small
        with torch.no_grad():
            answer = self._answer(small, torch.zeros((1, channels, *look)))
        self.outputs = answer.shape[1]

    def __call__(self, images: Images) -> Float[Tensor, "batch outputs height width"]:
        """Compute the network.

        Raises:
            ModelError: it fails on pictures of this size.
        """
        with torch.inference_mode():
            return self._answer(self._fast(images.shape), images)

    def prepare(self, shape: tuple[int, int, int, int]) -> None:
        """Compile the network for batches of this shape, and choose the backend."""
        self._fast(shape)

    def check_field(self) -> None:
        """See whether pictures may be cut as `field` says.

        Raises:
            ModelError: they may not.
        """
        check_field(self, self._channels, self.field)

    def _fast(self, shape: Sequence[int]) -> nn.Module:
        height, width = shape[2:]
        which = self._class_of((height, width))
        if which in self._made:
            self._made.move_to_end(which)
            return self._made[which]
        with torch.inference_mode(False):
            look = (height, width) if self.field.fixed else _like((height, width))
            small = self._small.pop(which, None) or self._compact(look)
            # "auto" measures on this; smaller pictures in as large a batch say which is faster
            fast = self._compile(small, torch.zeros((shape[0], self._channels, *look)))
        self._made[which] = fast
        if len(self._made) > _MADE:
            self._made.popitem(last=False)
        return fast

    def _compile(self, small: nn.Module, example: Tensor) -> nn.Module:
        fast = runtime.compile(small, example, self.backend, self._threads)
        if self.backend == "auto":
            # one that makes the same network in another process, so that resumed work goes on alike
            times = getattr(fast, "times", {})
            others = [time for name, time in times.items() if name not in ("planes", "mixed")]
            self.backend = (
                "cpu" if times.get("planes", math.inf) < min(others, default=0.0) else "reference"
            )
            return runtime.compile(small, example, self.backend, self._threads)
        return fast

    def _class_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Sizes of one class share a compiled network, which knows which sizes it fits."""
        if self._everywhere:
            return 0, 0
        if self.field.fixed:
            return size
        rows, columns = self.field.alignment
        return size[0] % rows, size[1] % columns

    def _compact(self, size: tuple[int, int]) -> nn.Module:
        if _is_compact(self._network):
            return self._network
        example = torch.zeros((1, self._channels, *size))
        self._answer(self._network, example)  # a failure here is none of compaction
        try:
            return compaction.compact(self._network, example)
        except ModelError as problem:
            log.warning("the network is run as it is, not compacted: %s", problem)
            return self._network

    def _look(self, small: nn.Module, size: tuple[int, int]) -> ReceptiveField:
        try:
            program = trace_program(small, torch.zeros((1, self._channels, *size)))
            return receptive_field(program)
        except ModelError as problem:
            reason = f"the network cannot be traced ({problem})"
            return ReceptiveField((0, 0), (0, 0), (1, 1), reason, reason)

    def _answer(self, network: nn.Module, images: Tensor) -> Tensor:
        shown = f"pictures of {' x '.join(str(n) for n in images.shape[1:])}"
        try:
            with torch.no_grad():
                answer = network(images)
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"the network fails on {shown}: {type(error).__name__}: {said}"
            ) from error
        if (
            not isinstance(answer, Tensor)
            or answer.ndim != 4
            or answer.shape[2:] != images.shape[2:]
        ):
            have = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise ModelError(
                f"the network answers {shown} with {have}; batch x channels x height x width of "
                "the same height and width is needed"
            )
        return answer


def _is_compact(network: nn.Module) -> bool:
    return "recipe" in getattr(network, "meta", {})


def _like(size: tuple[int, int]) -> tuple[int, int]:
    """A smaller size that leaves the same remainders when it is halved again and again."""
    height, width = (n if n < 2 * _PERIOD else _PERIOD + n % _PERIOD for n in size)
    return height, width
