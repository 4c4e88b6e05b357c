"""Compact networks on disk: safetensors with the recipe in the header. No pickle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, fx, nn

from leanline.compaction.any_size import unite
from leanline.compaction.build import build, keep_ignored
from leanline.compaction.recipe import Recipe
from leanline.compaction.recipe_inputs import make_inputs
from leanline.errors import CheckpointError, ConfigError, ModelError
from leanline.graph import trace_program
from leanline.masks import baked_copy
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
    if recipe.inputs is None:
        raise ConfigError(
            "save got a network that was compacted for inputs that cannot be written down: only "
            "tensors, numbers and texts in tuples, lists and dictionaries with text keys can"
        )
    frozen = sorted(name for name, value in small.named_parameters() if not value.requires_grad)
    recipe = replace(recipe, frozen=tuple(frozen))
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
        ConfigError: the factory makes no module.
    """
    tensors, metadata = load_tensors(path)
    if _KEY not in metadata:
        raise CheckpointError(f"{path} holds no compact network: it has no recipe")
    try:
        recipe = Recipe.from_json(metadata[_KEY])
    except CheckpointError as problem:
        raise CheckpointError(f"{path}: {problem}") from problem
    if isinstance(factory, nn.Module):
        raise ConfigError(
            f"load(factory): got a {type(factory).__name__}; give a function that makes the dense "
            "network"
        )
    dense = factory()
    if not isinstance(dense, nn.Module):
        raise ConfigError(f"load(factory): it made a {type(dense).__name__}, not a torch.nn.Module")
    foreign = f"{path} belongs to another network ({recipe.architecture}, torch {recipe.torch})"
    small = _rebuild(dense, recipe, foreign)
    wanted = small.state_dict()
    for name in sorted({*tensors, *wanted}):
        have = _kind(tensors.get(name))
        want = _kind(wanted.get(name))
        if have != want:
            raise CheckpointError(
                f"{foreign}: {name!r} is {have} in the file and {want} in the network"
            )
    small.load_state_dict(tensors)
    parameters = dict(small.named_parameters())
    unknown = sorted({*recipe.frozen} - parameters.keys())
    if unknown:
        raise CheckpointError(f"{foreign}: it has no parameter {unknown[0]!r}")
    for name, value in parameters.items():
        value.requires_grad_(name not in recipe.frozen)
    keep_ignored(dense, small)
    small.meta["sizes"] = recipe.sizes
    small.meta["recipe"] = recipe
    return small


def _rebuild(dense: nn.Module, recipe: Recipe, foreign: str) -> fx.GraphModule:
    """The compact network with the values of the dense one."""
    assert recipe.inputs is not None
    arguments = make_inputs(recipe.inputs)
    try:
        program = trace_program(dense, arguments)
        plan = recipe.plan(program)
    except (ModelError, CheckpointError) as problem:
        raise CheckpointError(f"{foreign}: {problem}") from problem
    plain = baked_copy(dense).eval()
    try:
        built = build(plain, program, plan, arguments)
        if recipe.other is None:
            return built.module
        return unite(built, plain, make_inputs(recipe.other))
    except Exception as problem:  # channels that do not fit together fail in many ways
        raise CheckpointError(f"{foreign}: its channels do not fit together") from problem


def _kind(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"
