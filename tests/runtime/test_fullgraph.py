import subprocess
import sys
from pathlib import Path


def test_compiled_networks_are_one_graph_for_inference_and_training() -> None:
    script = Path(__file__).with_name("fullgraph.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "done", done.stderr[-3000:]
