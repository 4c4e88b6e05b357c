"""`leanline tune-convert`."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from leanline.cli import options
from leanline.cli.session import session


class SpaceFormat(str, enum.Enum):
    """Kinds of files that hold measured spaces."""

    parquet = "parquet"
    kernel_tuner = "kernel-tuner"
    t4 = "t4"


def tune_convert(
    source: Annotated[Path, typer.Argument(help="A measured space, of any of the three kinds.")],
    target: Annotated[Path, typer.Argument(help="The file to write; .json.gz is gzipped.")],
    to: Annotated[
        SpaceFormat | None,
        typer.Option(help="Its kind; by default parquet for .parquet, else kernel-tuner."),
    ] = None,
    as_json: options.Json = False,
    progress: options.Progress = True,
    debug: options.Debug = False,
) -> None:
    """Turn a measured space into another kind of file: Parquet, Kernel Tuner's cache, T4.

    Only Parquet keeps everything: caches lose the constraints, T4 the values never measured too.

    Example: leanline tune-convert cache.json my-kernel.parquet
    """
    with session(as_json, progress, debug) as running:
        from leanline import tuning
        from leanline.errors import ConfigError

        is_parquet = target.suffix == ".parquet"
        format = to or (SpaceFormat.parquet if is_parquet else SpaceFormat.kernel_tuner)
        if not is_parquet and not target.name.endswith((".json", ".json.gz")):
            raise ConfigError(
                f"{target}: a name that ends in .parquet, .json or .json.gz is wanted"
            )
        if is_parquet != (format is SpaceFormat.parquet):
            wanted = ".parquet" if format is SpaceFormat.parquet else ".json or .json.gz"
            raise ConfigError(f"{target}: files of {format.value} end in {wanted}")
        measurements = tuning.read_measurements(source)
        tuning.write_measurements(measurements, target, format.value)
        ran, failed = int(measurements.valid.sum()), int((~measurements.valid).sum())
        running.result(
            {
                "command": "tune-convert",
                "source": source,
                "target": target,
                "format": format.value,
                "name": measurements.name,
                "ran": ran,
                "failed": failed,
            },
            f"{measurements.name or source.name}: {ran:,} configurations that ran and {failed:,} "
            f"that failed are in {target}",
        )
