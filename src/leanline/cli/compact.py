"""`leanline compact`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from leanline.cli import options
from leanline.cli.session import session
from leanline.errors import ConfigError


def compact(
    folder: Annotated[Path, typer.Argument(help="A folder of `leanline prune`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, *.safetensors.")],
    onnx: Annotated[
        Path | None, typer.Option(help="Write an ONNX file too, *.onnx (needs leanline[onnx]).")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to measure times.")] = 2.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads that are timed.")] = 1,
    model: options.Confirm = None,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Write the smaller network, which computes what the pruned one does.

    Example: leanline compact runs/lean --out net.safetensors
    """
    with session(as_json, progress, debug, threads) as running:
        if out.suffix != ".safetensors":
            raise ConfigError(f"--out {out}: give a file that ends in .safetensors")
        if onnx is not None and onnx.suffix != ".onnx":
            raise ConfigError(f"--onnx {onnx}: give a file that ends in .onnx")
        for option, file in (("--out", out), ("--onnx", onnx)):
            if file is not None and not file.absolute().parent.is_dir():
                raise ConfigError(f"{option} {file}: there is no folder {file.parent}")
        import torch

        from leanline import compaction, pruning
        from leanline.cli.folders import input_shape_of, network_of, pruned_of, read_run

        run = read_run(folder, "prune")
        _, pruned = pruned_of(run, model)
        generator = torch.Generator().manual_seed(0)
        example = torch.randn(input_shape_of(run), generator=generator)
        small = compaction.compact(pruned, example)
        exported = None if onnx is None else compaction.export_onnx(small, example, onnx)
        compaction.save(small, out)
        found = pruning.summary(pruned, example, seconds, small)
        held = sum(parameter.numel() for parameter in small.parameters())
        text = [
            str(found),
            f"{out}: a dense network of {held:,} parameters, {out.stat().st_size / 1000:,.0f} kB",
            f"in Python: leanline.load(lambda: {network_of(run, model).python}, {str(out)!r})",
        ]
        running.result(
            {
                "command": "compact",
                "folder": folder,
                "out": out,
                "bytes": out.stat().st_size,
                "parameters": held,
                "summary": found.to_dict(),
                "onnx": None if exported is None else dataclasses.asdict(exported),
            },
            "\n".join(text if exported is None else [*text, str(exported)]),
        )
