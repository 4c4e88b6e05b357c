"""What `leanline.prune` asks of the function that retrains, and how it calls it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from leanline.errors import ConfigError

Finetune = Callable[..., Mapping[str, float] | None]
"""Called as ``finetune(model)``, or ``finetune(model, stage)`` if its second positional argument
has no default or is called ``stage``; trains the model in place and may return metrics, which are
numbers by name. With ``state_dict`` and ``load_state_dict`` its state (of tensors) is written with
each stage and restored on resume; see also `Divisible`, `Judging` and `Shared`."""


@runtime_checkable
class Stateful(Protocol):
    """A finetune function with a state of its own, such as an optimiser's moments."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next call depends on."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of `state_dict`."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A finetune function that can do a stage's training in parts."""

    def train(
        self, model: nn.Module, stage: Any, part: int = 0, parts: int = 1
    ) -> Mapping[str, float]:
        """Train for one of so many equal parts of the stage, without judging."""
        ...


@runtime_checkable
class Judging(Protocol):
    """A finetune function that can judge without training."""

    def judge(self, model: nn.Module) -> Mapping[str, float]:
        """The metrics of a model, which stays as it is."""
        ...


@runtime_checkable
class Shared(Protocol):
    """A finetune function that several processes call together, each with its copy of the model."""

    @property
    def processes(self) -> int:
        """How many there are."""
        ...

    @property
    def rank(self) -> int:
        """The number of this one; number 0 writes the run folder."""
        ...


def numbers(metrics: Any) -> dict[str, float]:
    """What a finetune function returned, checked.

    Raises:
        ConfigError: It is neither None nor numbers by name.
    """
    try:
        return {} if metrics is None else {str(k): float(v) for k, v in metrics.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"finetune returned {metrics!r}: it must return numbers by name, such as "
            "{'accuracy': 0.9}, or None"
        ) from error


def state_of(thing: Stateful | nn.Module) -> dict[str, Tensor]:
    """The state of a model or a finetune function, checked.

    Raises:
        ConfigError: It holds something that is no tensor.
    """
    state: dict[str, Tensor] = thing.state_dict()
    owner = "model" if isinstance(thing, nn.Module) else "finetune"
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"{owner}.state_dict() holds {name!r} of type {type(value).__name__}: for a run "
                "folder it must hold tensors by name"
            )
    return state


def as_two_arguments(finetune: Finetune) -> Finetune:
    """Call a function of one argument, the model, as one of two."""
    try:
        parameters = inspect.signature(finetune).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return lambda model, _: finetune(model)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return finetune
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) > 1:
        second = positional[1]
        if second.default is second.empty or second.name == "stage":
            return finetune
    return lambda model, _: finetune(model)


def described(thing: object) -> Any:
    """How a run folder's configuration names a criterion, a goal or a finetune function.

    A thing may describe itself by an attribute `description`; a function is known by its name.
    """
    given = getattr(thing, "description", None)
    if isinstance(given, Mapping):
        return {"name": type(thing).__name__, **given}
    if is_dataclass(thing) and not isinstance(thing, type):
        return {"name": type(thing).__name__, **asdict(thing)}
    return getattr(thing, "__qualname__", type(thing).__name__)
