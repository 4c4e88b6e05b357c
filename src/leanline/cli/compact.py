"""`leanline compact`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leanline.cli import options
from leanline.cli.folders import input_shape_of, network_of, pruned_of, read_run
from leanline.cli.session import session
from leanline.errors import ConfigError

if TYPE_CHECKING:
    from leanline.cli.choices import NetworkChoice


def compact(
    folder: Annotated[Path, typer.Argument(help="A folder of `leanline prune`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, *.safetensors.")],
    model: options.Confirm = None,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Write the smaller network, which computes what the pruned one does.

    Example: leanline compact runs/lean --out net.safetensors
    """
    with session(as_json, progress, debug) as running:
        if out.suffix != ".safetensors":
            raise ConfigError(f"--out {out}: give a file that ends in .safetensors")
        import torch

        from leanline import compaction, pruning

        run = read_run(folder, "prune")
        _, pruned = pruned_of(run, model)
        shape = input_shape_of(run)
        example = torch.zeros(shape)
        small = compaction.compact(pruned, example)
        compaction.save(small, out)
        found = pruning.summary(pruned, example)
        held = sum(parameter.numel() for parameter in small.parameters())
        running.result(
            {
                "command": "compact",
                "folder": folder,
                "out": out,
                "bytes": out.stat().st_size,
                "parameters": held,
                "summary": found.to_dict(),
            },
            f"{found}\n"
            f"{out}: a dense network of {held:,} parameters, {out.stat().st_size / 1000:,.0f} kB\n"
            f"in Python: leanline.load({_factory(network_of(run, model))}, {str(out)!r})",
        )


def _factory(choice: "NetworkChoice") -> str:
    """Python that makes the dense network, for `leanline.load`."""
    name, settings = choice.name, ", ".join(f"{k}={v!r}" for k, v in choice.settings.items())
    if choice.runs_code:
        return f"lambda: {name.partition(':')[2]}({settings})"
    if name.startswith("pretrained:"):
        return f"lambda: leanline.models.pretrained({name.partition(':')[2]!r})"
    return f"lambda: leanline.models.make({name!r}, {settings})"
