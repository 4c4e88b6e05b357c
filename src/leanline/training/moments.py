"""Adam whose moments survive pruning: they are kept by the names of the unmasked model."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from leanline.errors import CheckpointError
from leanline.masks import get_channel_masks, get_masks
from leanline.training.config import TrainingConfig

_KINDS = ("exp_avg", "exp_avg_sq", "step")


def plain_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The stored parameters that are trained, by their names in the unmasked model.

    "convs.0.parametrizations.weight.original" and (of `torch.nn.utils.prune`) "convs.0.weight_orig"
    are "convs.0.weight". A shared parameter stands under its first name only.
    """
    found: dict[str, nn.Parameter] = {}
    stored = set(dict(model.named_buffers()))
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = name.replace("parametrizations.", "").removesuffix(".original")
        if plain.endswith("_orig") and plain.removesuffix("_orig") + "_mask" in stored:
            plain = plain.removesuffix("_orig")
        found[plain] = parameter
    return found


def make_adam(model: nn.Module, config: TrainingConfig) -> torch.optim.Adam:
    """Adam over the trained parameters of a model; fused where PyTorch can."""
    parameters = list(plain_parameters(model).values())
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.Adam(
        parameters,
        lr=config.lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=fused,
    )


def read_moments(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """The moments and step counts of Adam: "exp_avg.convs.0.weight" and so on, copied.

    `parameters` are those that the optimiser was made with, by their plain names.
    """
    return {
        f"{kind}.{name}": optimizer.state[parameter][kind].detach().clone()
        for name, parameter in parameters.items()
        if parameter in optimizer.state
        for kind in _KINDS
    }


def write_moments(
    optimizer: torch.optim.Optimizer, model: nn.Module, moments: Mapping[str, Tensor]
) -> None:
    """Gives Adam the moments that `read_moments` returned; pruned filters get zero moments.

    The two models may differ in their masks.

    Raises:
        CheckpointError: the moments are those of another network.
    """
    parameters = plain_parameters(model)
    names = {key.partition(".")[2] for key in moments}
    unknown = sorted(names - parameters.keys())
    if unknown:
        raise CheckpointError(f"the optimiser's state holds {unknown[0]!r}, the network does not")
    masks: dict[str, Tensor] = {**get_masks(model), **get_channel_masks(model)}
    for name in names:
        parameter = parameters[name]
        state = {}
        for kind in _KINDS:
            key = f"{kind}.{name}"
            if key not in moments:
                raise CheckpointError(f"the optimiser's state has no {key!r}; is it truncated?")
            value = moments[key]
            if kind != "step":
                if value.shape != parameter.shape:
                    raise CheckpointError(
                        f"the optimiser's state holds {key!r} of shape {tuple(value.shape)}, the "
                        f"network's {name!r} has {tuple(parameter.shape)}"
                    )
                value = _masked(value.to(parameter.device), masks.get(name))
            elif optimizer.defaults.get("fused"):
                value = value.to(parameter.device)
            state[kind] = value.clone()
        optimizer.state[parameter] = state


def _masked(moment: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return moment
    mask = mask.to(moment.device)
    return moment * mask.reshape(*mask.shape, *(1,) * (moment.ndim - mask.ndim))
