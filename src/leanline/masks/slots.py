"""Where a named parameter of a model really lives: plain, parametrised, or behind a hook.

A model's parameter has one *logical* name, the name it has in `named_parameters()` when nothing is
parametrised ("convs.0.weight"). Masks, weight norm and `torch.nn.utils.prune` all rename what is
stored; this module finds the logical names again.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from leanline.errors import ConfigError

_SUFFIXES = {
    WeightNorm: ("_g", "_v"),
    SpectralNorm: ("_orig",),
    prune.BasePruningMethod: ("_orig",),
}


@dataclass(frozen=True, eq=False)
class Slot:
    """One logical parameter and every place of the model that holds it.

    Attributes:
        name: Its first logical name.
        holders: (module, attribute) pairs; more than one when a parameter is shared.
        aliases: All its logical names, `name` among them.
    """

    name: str
    holders: tuple[tuple[nn.Module, str], ...]
    aliases: tuple[str, ...]

    @property
    def value(self) -> Tensor:
        """The effective value now, detached, computed without side effects."""
        module, attribute = self.holders[0]
        if not parametrize.is_parametrized(module, attribute):
            tensor = getattr(module, attribute)
            assert isinstance(tensor, Tensor)
            return tensor.detach()
        stack = parametrizations_of(module, attribute)
        training = [part for part in stack.modules() if part.training]
        try:
            stack.eval()  # the power iteration of a spectral norm must not advance
            with torch.no_grad():
                value = stack()
        finally:
            for part in training:
                part.training = True
        assert isinstance(value, Tensor)
        return value


def parametrizations_of(module: nn.Module, attribute: str) -> parametrize.ParametrizationList:
    """What a parametrised tensor goes through, in order."""
    stacks = module.parametrizations
    assert isinstance(stacks, nn.ModuleDict)
    stack = stacks[attribute]
    assert isinstance(stack, parametrize.ParametrizationList)
    return stack


def hooks(module: nn.Module) -> dict[str, tuple[int, object]]:
    """Old-style reparametrisations of a module: attribute -> (id of the hook, the hook)."""
    found: dict[str, tuple[int, object]] = {}
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, prune.BasePruningMethod):
            found[hook._tensor_name] = (key, hook)
        elif isinstance(hook, WeightNorm | SpectralNorm):
            found[hook.name] = (key, hook)
    return found


def _stored(hook: object, attribute: str) -> tuple[str, ...]:
    for kind, suffixes in _SUFFIXES.items():
        if isinstance(hook, kind):
            return tuple(attribute + suffix for suffix in suffixes)
    return ()


def _own_tensors(module: nn.Module) -> Iterable[tuple[str, int]]:
    """(attribute, identity of what is stored) of every logical parameter of one module."""
    old = hooks(module)
    hidden = {stored: name for name, (_, hook) in old.items() for stored in _stored(hook, name)}
    done: set[str] = set()
    for attribute, parameter in module._parameters.items():
        if parameter is not None:
            name = hidden.get(attribute, attribute)
            if name not in done:
                done.add(name)
                yield name, id(parameter)
    if parametrize.is_parametrized(module):
        stacks = module.parametrizations
        assert isinstance(stacks, nn.ModuleDict)
        for attribute in stacks:
            stack = parametrizations_of(module, attribute)
            original = stack.original if stack.is_tensor else stack.original0
            if isinstance(original, nn.Parameter):
                yield attribute, id(original)


def find_slots(model: nn.Module) -> dict[str, Slot]:
    """All logical parameters of a model by name; a shared one is found under each of its names."""
    internal: set[int] = set()
    places: dict[int, list[tuple[str, nn.Module, str]]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if id(module) in internal:
            continue
        if parametrize.is_parametrized(module):
            stacks = module.parametrizations
            assert isinstance(stacks, nn.ModuleDict)
            internal.update(id(part) for part in stacks.modules())
        for attribute, identity in _own_tensors(module):
            name = f"{path}.{attribute}" if path else attribute
            places.setdefault(identity, []).append((name, module, attribute))
    slots: dict[str, Slot] = {}
    for group in places.values():
        holders = {(id(module), attribute): (module, attribute) for _, module, attribute in group}
        aliases = tuple(name for name, _, _ in group)
        slot = Slot(aliases[0], tuple(holders.values()), aliases)
        for name in aliases:
            slots[name] = slot
    return slots


def suggest(name: str, options: Iterable[str]) -> str:
    """End of an error message: the names most like `name`, or the first few that exist."""
    known = list(options)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(option) for option in close) + "?"
    if not known:
        return "there are none"
    return (
        "there are "
        + ", ".join(repr(option) for option in known[:6])
        + (f" and {len(known) - 6} more" if len(known) > 6 else "")
    )


def pick_slot(slots: Mapping[str, Slot], name: str) -> Slot:
    """The slot of a name.

    Raises:
        ConfigError: If the model has no such parameter.
    """
    if name not in slots:
        raise ConfigError(f"the model has no parameter {name!r}: {suggest(name, slots)}")
    return slots[name]
