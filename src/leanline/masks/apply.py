"""Put filter and channel masks on a model, read them back, and make them permanent."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from leanline.errors import ConfigError
from leanline.masks.bake import bake_slot, bake_tensor, own_class
from leanline.masks.mask import Mask
from leanline.masks.slots import Slot, find_slots, hooks, parametrizations_of, pick_slot

_log = logging.getLogger(__name__)


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Prune filters: from now on they are exactly zero in the forward pass.

    A parameter that is masked already, by leanline or by `torch.nn.utils.prune`, keeps the
    intersection: what was pruned stays pruned. The stored parameters remain the same objects, so
    an optimiser goes on with its state. A shared parameter is masked wherever it is used.

    Args:
        model: Any module; changed in place.
        masks: Parameter name, as in `named_parameters()` of the unmasked model, to a boolean
            tensor of `weight.shape[:2]`; True filters stay.

    Raises:
        ConfigError: If a name, a shape or a dtype is wrong; the model is then unchanged.
    """
    slots = find_slots(model)
    work: list[tuple[Slot, Tensor]] = []
    for name, mask in masks.items():
        slot = pick_slot(slots, name)
        weight = slot.value
        if weight.ndim < 2:
            raise ConfigError(
                f"parameter {name!r} has shape {tuple(weight.shape)}: a filter mask needs at least "
                "two axes; channel masks are for apply_channel_masks"
            )
        _check(name, mask, tuple(weight.shape[:2]))
        full = mask.detach().clone().to(weight.device)
        work.append((slot, full.reshape(*full.shape, *(1,) * (weight.ndim - 2))))
    for slot, mask in work:
        _mask_slot(slot, mask)


def zero_filters(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set filters to zero once, without a mask: from then on they are trained like any other.

    Args:
        model: Any module; changed in place.
        masks: As for `apply_masks`; False filters become zero.

    Raises:
        ConfigError: If a name, a shape or a dtype is wrong, or a weight is computed from other
            parameters, as by weight norm; the model is then unchanged.
    """
    slots = find_slots(model)
    work: list[tuple[Tensor, Tensor]] = []
    for name, mask in masks.items():
        stored = _stored(pick_slot(slots, name))
        _check(name, mask, tuple(stored.shape[:2]))
        work.append(
            (stored, mask.to(stored.device).reshape(*mask.shape, *(1,) * (stored.ndim - 2)))
        )
    with torch.no_grad():
        for stored, mask in work:
            stored.masked_fill_(~mask, 0.0)


def apply_channel_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Hold single channels of biases and of batch-norm weights and biases at exactly zero.

    Args:
        model: Any module; changed in place.
        masks: Parameter name to a boolean tensor of one entry a channel; True channels stay.

    Raises:
        ConfigError: If a name, a shape or a dtype is wrong; the model is then unchanged.
    """
    slots = find_slots(model)
    work: list[tuple[Slot, Tensor]] = []
    for name, mask in masks.items():
        slot = pick_slot(slots, name)
        vector = slot.value
        if vector.ndim != 1:
            raise ConfigError(
                f"parameter {name!r} has shape {tuple(vector.shape)}: a channel mask needs one "
                "axis; filter masks are for apply_masks"
            )
        _check(name, mask, tuple(vector.shape))
        work.append((slot, mask.detach().clone().to(vector.device)))
    for slot, mask in work:
        _mask_slot(slot, mask)


def get_masks(model: nn.Module) -> dict[str, Bool[Tensor, "_ _"]]:
    """Filter masks of every convolution or linear parameter that has one.

    Masks of `torch.nn.utils.prune` are read too: a filter counts as kept while one of its entries
    is.

    Returns:
        Parameter name to a new boolean tensor of `weight.shape[:2]`, True = kept.
    """
    return {
        name: mask.flatten(2).any(2) if mask.ndim > 2 else mask.clone()
        for name, mask in _read(model).items()
        if mask.ndim >= 2
    }


def get_channel_masks(model: nn.Module) -> dict[str, Bool[Tensor, "_"]]:
    """Channel masks of every one-axis parameter that has one, True = kept."""
    return {name: mask.clone() for name, mask in _read(model).items() if mask.ndim == 1}


def remove_masks(model: nn.Module) -> None:
    """Make the masks permanent: plain parameters with their old names and zeros in them.

    Other parametrisations of a masked parameter (weight norm below a mask) are baked with it;
    parameters without a mask are left alone.
    """
    masked = _read(model)
    slots = find_slots(model)
    with torch.no_grad():
        for name in masked:
            bake_slot(slots[name])


def lift_masks(model: nn.Module) -> None:
    """Take leanline's masks off again: what they held at zero has the stored values once more.

    The counterpart of `remove_masks`, which keeps the zeros. Other parametrisations stay.
    """
    for slot in {id(slot): slot for slot in find_slots(model).values()}.values():
        for module, attribute in slot.holders:
            while (mask := _own(module, attribute)) is not None:
                own_class(module)
                stack = parametrizations_of(module, attribute)
                if len(stack) == 1:
                    parametrize.remove_parametrizations(module, attribute, False)
                else:
                    place = next(i for i, part in enumerate(stack) if part is mask)
                    del stack[place]


def _check(name: str, mask: Tensor, shape: tuple[int, ...]) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ConfigError(f"the mask of {name!r} is {kind}: give a tensor of torch.bool")
    if tuple(mask.shape) != shape:
        raise ConfigError(
            f"the mask of {name!r} has shape {tuple(mask.shape)}: the parameter needs {shape}"
        )


def _own(module: nn.Module, attribute: str) -> Mask | None:
    if not parametrize.is_parametrized(module, attribute):
        return None
    stack = parametrizations_of(module, attribute)
    return next((part for part in stack if isinstance(part, Mask)), None)


def _stored(slot: Slot) -> Tensor:
    """The parameter itself, below its masks."""
    module, attribute = slot.holders[0]
    if parametrize.is_parametrized(module, attribute):
        stack = parametrizations_of(module, attribute)
        if all(isinstance(part, Mask) for part in stack):
            stored = stack.original
            assert isinstance(stored, Tensor)
            return stored
    elif _foreign(module, attribute) is not None:
        return module.get_parameter(attribute + "_orig")
    elif attribute not in hooks(module):
        return module.get_parameter(attribute)
    raise ConfigError(
        f"parameter {slot.name!r} is computed from others (weight or spectral norm): its filters "
        "cannot be set to zero without a mask; use a criterion without soft stages, or remove the "
        "norm first"
    )


def _foreign(module: nn.Module, attribute: str) -> Tensor | None:
    """The elementwise mask of `torch.nn.utils.prune`, if there is one."""
    found = hooks(module).get(attribute)
    if found is None or not isinstance(found[1], prune.BasePruningMethod):
        return None
    mask = getattr(module, attribute + "_mask")
    assert isinstance(mask, Tensor)
    return mask != 0


def _read(model: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for slot in {id(slot): slot for slot in find_slots(model).values()}.values():
        for module, attribute in slot.holders:
            own, foreign = _own(module, attribute), _foreign(module, attribute)
            mask = own.mask.detach() if own is not None else foreign
            if mask is not None:
                found[slot.name] = mask
                break
    return found


def _mask_slot(slot: Slot, mask: Tensor) -> None:
    for module, attribute in slot.holders:
        own = _own(module, attribute)
        if own is not None:
            if own.mask.shape == (own.mask & mask).shape:
                own.mask.logical_and_(mask)
            else:
                own.mask = own.mask & mask
            continue
        foreign = _foreign(module, attribute)
        if foreign is not None:
            bake_tensor(module, attribute)  # the stored parameter stays the same object
            mask = mask & foreign
        elif attribute in hooks(module):
            _log.warning("%s: old-style weight or spectral norm baked in", slot.name)
            bake_tensor(module, attribute)
        own_class(module)
        parametrize.register_parametrization(module, attribute, Mask(mask.clone()), unsafe=True)
