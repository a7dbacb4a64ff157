"""Which processes are alive."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from coatcheck.dev.parent_death_watch import is_alive


def test_a_process_that_has_ended_is_not_alive_even_before_it_is_collected() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    os.kill(child.pid, 0)  # it still exists
    assert not is_alive(child.pid)
    child.wait()
    assert not is_alive(child.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="names of processes are set by prctl")
def test_a_process_whose_name_looks_like_a_state_is_alive() -> None:
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b'a) Z (b', 0, 0, 0); print('named', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"named\n"
        assert is_alive(child.pid)
        child.communicate(b"\n")
