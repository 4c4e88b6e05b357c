"""`leanline compact`."""

from pathlib import Path
from typing import Annotated

import typer

from leanline.cli import options
from leanline.cli.session import session
from leanline.errors import ConfigError


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
        from leanline.cli.folders import input_shape_of, network_of, pruned_of, read_run

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
            f"in Python: leanline.load(lambda: {network_of(run, model).python}, {str(out)!r})",
        )
