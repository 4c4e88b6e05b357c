"""Two processes that share each batch give what one process gives."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from leanline.records.run import RunFolder

SCRIPT = Path(__file__).with_name("prune_in_processes.py")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(rank: int, world: int, port: int, out: Path, steps: int) -> subprocess.Popen[str]:
    """One process, with the variables that torchrun sets."""
    given = {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": rank,
        "LOCAL_RANK": rank,
        "GROUP_RANK": 0,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": 1,
    }
    environment = os.environ | {name: str(value) for name, value in given.items()}
    command = [sys.executable, str(SCRIPT), str(world), str(out), str(steps)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(processes: list[subprocess.Popen[str]]) -> None:
    """Waits for all of them, which must succeed."""
    try:
        for process in processes:
            said, _ = process.communicate(timeout=250)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names Linux's loopback device")
def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    """... with a run folder, which one of them writes, also when they are ended and go on."""
    one, two = tmp_path / "one", tmp_path / "two"
    begun = [start(rank, 2, port, two, 1) for port in [free_port()] for rank in range(2)]
    alone = subprocess.Popen(
        [sys.executable, str(SCRIPT), "1", str(one), "2"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    ended([*begun, alone])
    assert len(RunFolder.read(two.with_suffix(".run")).stages) == 1
    ended([start(rank, 2, port, two, 2) for port in [free_port()] for rank in range(2)])
    assert len(RunFolder.read(two.with_suffix(".run")).stages) == 2
    want, have = load_file(one), load_file(two)
    assert want.keys() == have.keys()
    assert any(name.startswith("2.") for name in want)
    for name, value in want.items():
        if value.dtype == torch.bool:
            assert torch.equal(have[name], value), name
        else:
            torch.testing.assert_close(have[name], value, rtol=1e-4, atol=1e-5, msg=name)
