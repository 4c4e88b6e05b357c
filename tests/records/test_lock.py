import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leanline.errors import RunError
from leanline.records.lock import FolderLock

HOLD = """
import sys, time
from pathlib import Path
from leanline.records.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
{more}
print("held", flush=True)
time.sleep(600)
"""
FORK = "import os\nif os.fork() == 0:\n    print(os.getpid(), flush=True)\n    time.sleep(600)\n"


def test_second_lock_of_one_process_is_refused(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / ".lock")
    with pytest.raises(RunError, match=f"{tmp_path.name} is in use by process {os.getpid()}"):
        FolderLock(tmp_path / ".lock")
    lock.release()
    lock.release()
    FolderLock(tmp_path / ".lock").release()


def test_a_forgotten_lock_is_given_back(tmp_path: Path) -> None:
    FolderLock(tmp_path / ".lock")
    FolderLock(tmp_path / ".lock").release()


@pytest.mark.parametrize("more", ["", FORK], ids=["alone", "with a child that lives on"])
def test_a_killed_process_gives_the_lock_back(tmp_path: Path, more: str) -> None:
    command = [sys.executable, "-c", HOLD.format(more=more), str(tmp_path / ".lock")]
    child = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2 if more else 1)]
        for line in lines:
            if line.isdigit():
                child = int(line)
        try:
            with pytest.raises(RunError, match=f"process {process.pid}"):
                FolderLock(tmp_path / ".lock")
            process.kill()
            process.wait()
            FolderLock(tmp_path / ".lock").release()
        finally:
            if child:
                os.kill(child, signal.SIGKILL)
            process.kill()


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot open"):
        FolderLock(tmp_path / "nowhere" / ".lock")
