"""What all tests share: checked shapes, repeatable random inputs, the development data."""

import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

import shape_checks

shape_checks.install("leanline")

settings.register_profile(
    "leanline",
    deadline=None,  # compiled on the first call: the first example is slow
    derandomize=True,  # the same examples in every run
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # pictures are larger than hypothesis expects
)
settings.load_profile("leanline")

# pytest-xdist runs a process per core; more threads would only fight each other
torch.set_num_threads(1)

# Triton looks at this when it is imported: where there is no GPU, its kernels are interpreted
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# no bars in the captured output
os.environ["LEANLINE_PROGRESS"] = "0"

# a shell's background jobs ignore Ctrl-C, and so would the processes that the tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real data; the test is skipped where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data, which is not part of the repository: no {folder}")
    return folder
