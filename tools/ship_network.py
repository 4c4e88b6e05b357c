"""Put a trained MS-D network into the package, with the command that made it.

python tools/ship_network.py RUN_FOLDER NAME "COMMAND"
"""

import sys
from pathlib import Path

from leanline.data import CircleSquare
from leanline.experiments.evidence import judge
from leanline.models import MSD, save_msd
from leanline.records.run import RunFolder
from leanline.training import load_best


def main(folder: str, name: str, command: str) -> None:
    """Load the best weights of a run, judge them on 50 fresh pictures, and write the file."""
    model = MSD(depth=50, in_channels=1, out_channels=5)
    load_best(RunFolder.read(folder), model)
    accuracy = judge(model, CircleSquare(test=50, seed=12345))["accuracy"]
    file = Path("src/leanline/models/weights") / f"{name}.safetensors"
    save_msd(model, file, {"command": command, "accuracy": f"{accuracy:.5f} on 50 fresh pictures"})
    sys.stdout.write(f"{file}: pixel accuracy {accuracy:.5f} on 50 fresh pictures\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
