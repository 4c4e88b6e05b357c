"""Take every reparametrisation off a model and leave the effective values."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.weight_norm import WeightNorm

from leanline.masks.slots import Slot, find_slots, hooks


def bake_tensor(module: nn.Module, attribute: str) -> None:
    """Make one tensor of one module a plain parameter again that holds its effective value."""
    if parametrize.is_parametrized(module, attribute):
        own_class(module)
        trained = _trained(module, attribute)
        training = module.training
        module.eval()  # a spectral norm would advance its power iteration
        try:
            parametrize.remove_parametrizations(module, attribute, leave_parametrized=True)
        finally:
            module.train(training)
        if trained is not None and attribute in module._buffers:
            # computed from several parameters (weight norm): PyTorch leaves a buffer under no_grad
            value = module._buffers.pop(attribute)
            assert isinstance(value, Tensor)
            module.register_parameter(attribute, nn.Parameter(value.detach(), trained))
        return
    found = hooks(module).get(attribute)
    if found is None:
        return
    hook = found[1]
    if isinstance(hook, prune.BasePruningMethod):
        prune.remove(module, attribute)  # type: ignore[no-untyped-call]
    elif isinstance(hook, WeightNorm):
        remove_weight_norm(module, attribute)
    else:
        remove_spectral_norm(module, attribute)


def _trained(module: nn.Module, attribute: str) -> bool | None:
    """Whether what a parametrised tensor is made of is trained; None if that is no parameter."""
    stacks = module.parametrizations
    assert isinstance(stacks, nn.ModuleDict)
    own = [p for name, p in stacks[attribute].named_parameters() if name.startswith("original")]
    return any(p.requires_grad for p in own) if own else None


def own_class(module: nn.Module) -> None:
    """Give a parametrised module a class that no deep copy of it shares.

    PyTorch keeps a property for each parametrised tensor on the module's class, which deep copies
    share: adding or removing a parametrisation of one of them would break the others.
    """
    if parametrize.is_parametrized(module):
        shared = type(module)
        module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))


def bake_slot(slot: Slot) -> None:
    """Bake one logical parameter everywhere it is held; a shared one stays shared."""
    first, first_attribute = slot.holders[0]
    bake_tensor(first, first_attribute)
    for module, attribute in slot.holders[1:]:
        bake_tensor(module, attribute)
        setattr(module, attribute, getattr(first, first_attribute))


def bake(model: nn.Module) -> nn.Module:
    """Remove every parametrisation of a model, in place, and keep the effective values.

    Masks, weight and spectral norms (parametrised or old-style hooks) and the masks of
    `torch.nn.utils.prune` go; what they made of the parameters stays, under the plain names.

    Args:
        model: Any module; changed in place.

    Returns:
        The same model.
    """
    for slot in {id(slot): slot for slot in find_slots(model).values()}.values():
        bake_slot(slot)
    for module in list(model.modules()):  # parametrised buffers, which are no parameters
        for attribute in list(getattr(module, "parametrizations", None) or ()):
            if parametrize.is_parametrized(module, attribute):
                bake_tensor(module, attribute)
    return model


def baked_copy(model: nn.Module) -> nn.Module:
    """A deep copy without parametrisations; the model itself is not touched.

    Works where `copy.deepcopy` alone fails: on models that `torch.nn.utils.prune` or an old-style
    weight norm left with a computed tensor as an attribute.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    duplicate = copy.deepcopy(model, memo)
    with torch.no_grad():
        return bake(duplicate)
