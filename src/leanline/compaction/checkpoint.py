"""Compact networks on disk: safetensors with the recipe in the header. No pickle."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from leanline.compaction.compact import build
from leanline.compaction.recipe import Recipe
from leanline.errors import CheckpointError, ConfigError
from leanline.graph import trace_program
from leanline.records.tensors import load_tensors, save_tensors
from leanline.types import PathLike

_KEY = "recipe"


def save(small: nn.Module, path: PathLike) -> None:
    """Write a compact network: its tensors, and the recipe to rebuild it, in one file.

    Args:
        small: what `compact` returned, fine-tuned further or not.
        path: the file, by custom ``*.safetensors``; written atomically.

    Raises:
        ConfigError: `small` does not come from `compact`.
        RunError: the file cannot be written.
    """
    recipe = getattr(small, "meta", {}).get("recipe")
    if not isinstance(recipe, Recipe):
        raise ConfigError(
            f"save got a {type(small).__name__} without a recipe: give it what compact() returned"
        )
    save_tensors(path, small.state_dict(), {_KEY: recipe.to_json()})


def load(factory: Callable[[], nn.Module], path: PathLike) -> nn.Module:
    """Rebuild a compact network.

    Args:
        factory: makes the dense network, as it was before pruning (its values do not matter). The
            file's own word for the architecture is never imported.
        path: a file that `save` wrote.

    Returns:
        The compact network in eval mode, equal bit for bit to the one that was saved.

    Raises:
        CheckpointError: the file is missing, cut or damaged, or belongs to another network.
    """
    tensors, metadata = load_tensors(path)
    if _KEY not in metadata:
        raise CheckpointError(f"{path} holds no compact network: it has no recipe")
    recipe = Recipe.from_json(metadata[_KEY])
    dense = factory()
    program = trace_program(dense, recipe.example_inputs())
    small = build(program, recipe.plan(program))
    wanted = small.state_dict()
    for name in sorted({*tensors, *wanted}):
        have = tuple(tensors[name].shape) if name in tensors else None
        want = tuple(wanted[name].shape) if name in wanted else None
        if have != want:
            raise CheckpointError(
                f"{path} belongs to another network ({recipe.architecture}): {name!r} is {have} "
                f"in the file and {want} in the network"
            )
    small.load_state_dict(tensors)
    small.meta["recipe"] = recipe
    ignored = getattr(dense, "leanline_ignore", None)
    if ignored is not None:
        names = {name for name, _ in small.named_modules()}
        small.leanline_ignore = tuple(name for name in ignored if name in names)
    return small
