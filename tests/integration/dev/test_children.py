"""Children of the development stack, with real processes: they die with us, are ready when they answer, explain."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coatcheck.dev import child as child_module
from coatcheck.dev.broker import Broker
from coatcheck.dev.checks import port_problem
from coatcheck.dev.child import Child, ChildFailed
from coatcheck.dev.mongod import Mongod
from coatcheck.dev.parent_death_watch import is_alive
from coatcheck.dev.ports import free_ports
from shared.kafka.topics import broker_answers
from shared.mongo.connection.replica_set import wait_primary
from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.brokers import apache_wanted, broker_under_test
from tests.support.servers.mongod import MongodSet

SLEEPER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true"
        time.sleep(0.01)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.kill()


class Stranger(socketserver.TCPServer):
    """Somebody else's server, which understands nothing that it is sent and hangs up."""

    allow_reuse_address = True


@contextlib.contextmanager
def another_server(port: int) -> Iterator[None]:
    with Stranger(("127.0.0.1", port), socketserver.BaseRequestHandler) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.02,))
        thread.start()
        yield
        other.shutdown()
        thread.join()


def start_parent(tmp_path: Path, *, watch: bool = False) -> tuple[subprocess.Popen[str], int]:
    """A process with one child of its own; its handle and the child's id. `watch` ties it as where no kernel helps."""
    program = tmp_path / "parent.py"
    program.write_text(
        f"import sys, time\n"
        f"from pathlib import Path\n"
        f"from coatcheck.dev.child import Child\n"
        f"child = Child('sleeper', {SLEEPER!r}, log=Path({str(tmp_path / 'sleeper.log')!r}))\n"
        f"child.wait_ready(lambda: 'here' in child.log.read_text(), 20)\n"
        f"print(child.pid, flush=True)\n"
        f"time.sleep(600)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    if watch:
        copy = tmp_path / "parent_death_watch.py"
        text = Path(child_module.PARENT_DEATH_WATCH).read_text()
        copy.write_text(text.replace('sys.platform == "linux"', "False"))
        program.write_text(
            f"from pathlib import Path\n"
            f"import coatcheck.dev.child as c\n"
            f"c.PARENT_DEATH_WATCH = Path({str(copy)!r})\n" + program.read_text()
        )
    parent = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True, env=environ)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize("watch", [False, True], ids=["as here", "as without prctl"])
def test_a_child_dies_with_its_parent_even_after_kill_9(tmp_path: Path, watch: bool) -> None:
    parent, child_pid = start_parent(tmp_path, watch=watch)
    with parent:
        assert is_alive(child_pid)
        parent.kill()
    until(lambda: not is_alive(child_pid))


def test_a_child_that_dies_early_fails_at_once_with_its_last_words(tmp_path: Path, children: list[Child]) -> None:
    program = "import sys; print('\\n'.join(f'line {n}' for n in range(99))); sys.exit('no such file')"
    child = Child("mongod", [sys.executable, "-c", program], log=tmp_path / "mongod.log")
    children.append(child)
    began = time.monotonic()
    with pytest.raises(
        ChildFailed, match=r"mongod ended with exit code 1; last lines of .*mongod.log:\n  line 88\n"
    ) as e:
        child.wait_ready(lambda: False, 60)
    assert str(e.value).endswith("no such file")
    assert "line 87\n" not in str(e.value)
    assert time.monotonic() - began < 20


def test_a_child_killed_by_a_signal_says_which(tmp_path: Path, children: list[Child]) -> None:
    child = Child("worker", SLEEPER, log=tmp_path / "worker.log")
    children.append(child)
    child.signal(signal.SIGKILL)
    with pytest.raises(ChildFailed, match="worker was killed by SIGKILL"):
        child.wait_ready(lambda: False, 60)


def test_a_child_that_never_answers_fails_after_the_time_out(tmp_path: Path, children: list[Child]) -> None:
    children.append(Child("broker", SLEEPER, log=tmp_path / "broker.log"))
    with pytest.raises(ChildFailed, match=r"broker did not answer within 0\.1 s"):
        children[0].wait_ready(lambda: False, 0.1)


def test_a_program_that_is_missing_is_named(tmp_path: Path, children: list[Child]) -> None:
    children.append(Child("mongod", [tmp_path / "no-such-program"], log=tmp_path / "mongod.log"))
    with pytest.raises(ChildFailed, match="no-such-program"):
        children[0].wait_ready(lambda: False, 60)


def test_a_child_that_does_not_stop_is_killed_with_what_it_started(tmp_path: Path, children: list[Child]) -> None:
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)\n"
        "time.sleep(600)"
    )
    child = Child("edge", [sys.executable, "-c", program], log=tmp_path / "edge.log")
    children.append(child)
    child.wait_ready(lambda: child.log.read_text().endswith("\n"), 20)
    grandchild = int(child.log.read_text())
    assert child.stop(0.2) is False
    until(lambda: not is_alive(grandchild))


def test_a_log_is_cut_and_its_end_is_kept_once(
    tmp_path: Path, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LOG_BYTES", 1000)
    program = "import time; print('x' * 3000 + 'end', flush=True); input(); print('more', flush=True); time.sleep(600)"
    child = Child(
        "edge", [sys.executable, "-c", program.replace("input()", "time.sleep(.5)")], log=tmp_path / "edge.log"
    )
    children.append(child)
    until(lambda: child.log.stat().st_size > 3000)
    child.trim_log()
    until(lambda: child.log.read_text() == "more\n")
    kept = tmp_path / "edge.log.1"
    assert kept.stat().st_size == 1000
    assert kept.read_text().endswith("end\n")


def test_a_taken_port_comes_with_the_way_out() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        problem = port_problem("127.0.0.1", port, "make run PORT=8081")
    assert problem == f"port {port} on 127.0.0.1 is taken: stop what uses it, or make run PORT=8081"
    assert port_problem("127.0.0.1", port, "") is None


def test_mongod_keeps_its_data_and_port_over_restarts_and_moves_when_the_port_is_taken(
    tmp_path: Path, children: list[Child]
) -> None:
    def start() -> Mongod:
        mongod = Mongod(tmp_path / "mongod", tmp_path / "mongod.log")
        children.append(mongod.start())
        mongod.wait_ready(children[-1])
        return mongod

    first = start()
    assert children[-1].stop(30)
    assert start().port == first.port
    assert children[-1].stop(30)
    with another_server(first.port):
        moved = start()
    assert moved.port != first.port
    assert wait_primary(moved.uri, 10) == f"127.0.0.1:{moved.port}"


def test_the_broker_answers_when_it_is_ready_and_not_after_its_end(tmp_path: Path, children: list[Child]) -> None:
    broker = Broker(tmp_path / "broker.log")
    assert not broker_answers(broker.bootstrap)
    children.append(broker.start())
    broker.wait_ready(children[0])
    assert broker_answers(broker.bootstrap)
    assert children[0].stop(broker.stop_seconds)
    assert children[0].exit_code == 0
    assert not broker_answers(broker.bootstrap)


def test_a_silent_port_is_no_broker() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not broker_answers(f"127.0.0.1:{silent.getsockname()[1]}")


def test_three_mongods_choose_another_primary_when_theirs_is_killed(tmp_path: Path) -> None:
    with MongodSet(tmp_path, members=3) as trio:
        lost = trio.primary()
        trio.kill(lost)
        assert trio.primary(20) != lost
        trio.restart(lost)


def test_a_frozen_mongod_answers_again_after_the_thaw(tmp_path: Path) -> None:
    with MongodSet(tmp_path) as alone:
        alone.freeze()
        with pytest.raises(TimeoutError):
            alone.primary(0.1)
        alone.thaw()
        assert alone.primary(20) == 0


def test_the_broker_under_test_comes_back_on_its_port_after_kill_9(tmp_path: Path) -> None:
    with broker_under_test(tmp_path) as broker:
        broker.kill()
        assert not broker_answers(broker.bootstrap)
        broker.start()
        assert broker_answers(broker.bootstrap)
        assert isinstance(broker, ApacheKafka) == apache_wanted()


def test_ports_picked_together_differ() -> None:
    assert len(set(free_ports(50))) == 50
