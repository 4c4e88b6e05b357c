"""Types that several parts share."""

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from jaxtyping import Bool, Float
from torch import Tensor

PathLike: TypeAlias = str | os.PathLike[str]
"""A path as users write it."""

Scalar: TypeAlias = str | int | float | bool | None
"""What a row of a table holds."""

Image: TypeAlias = Float[Tensor, "channels height width"]
"""One picture."""

Images: TypeAlias = Float[Tensor, "batch _ height width"]
"""A batch of pictures, with any number of channels."""

FilterMask: TypeAlias = Bool[Tensor, "out in"]
"""Which filters of one convolution stay: True is kept. The shape is ``weight.shape[:2]``."""

Masks: TypeAlias = Mapping[str, Bool[Tensor, "_ _"]]
"""The filter masks of a network, by the name of the weight ("layer.weight")."""

ExampleInputs: TypeAlias = Tensor | tuple[Any, ...]
"""What a network is called with, to trace or time it: a tensor, or a tuple of its arguments, each a
tensor or a dictionary or list of tensors."""
