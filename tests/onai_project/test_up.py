from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from django.core.management import CommandError, call_command

from tests.onai_project.checkouts import say_until, wait_for
from tests.system import free_port

pytestmark = pytest.mark.processes


def children(pid: int) -> dict[str, int]:
    """The supervisor's children by name."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in pids}
    return {name: pid for pid, command in commands.items() for name in ("granian", "worker") if f"{name}\0" in command}


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/webhook/amocrm/traffic/test").status_code == 200
    except httpx.HTTPError:
        return False


def end(process: subprocess.Popen[str], number: int) -> None:
    started = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert time.monotonic() - started < 10


def test_it_keeps_everything_up_until_ctrl_c(checkout):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = checkout.start("up", PORT=str(port))
    said = say_until(process, "Ctrl-C")
    assert f"{url}/admin/" in said
    assert "admin, password" in said
    assert answers(url)
    assert stat.S_IMODE((checkout.path / ".env").stat().st_mode) == 0o600

    for name in ("granian", "worker"):
        killed = children(process.pid)[name]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: killed not in children(process.pid).values() and len(children(process.pid)) == 2)  # noqa: B023
    server = checkout.cluster.pid()
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: checkout.cluster.pid() not in (None, server))
    wait_for(lambda: answers(url))

    status, output = checkout.manage("up", PORT=str(port))
    assert status == 1
    assert f"Port {port} is taken by process" in output
    assert answers(url)

    end(process, signal.SIGINT)
    assert not answers(url)
    assert checkout.cluster.pid() is None


def test_it_leaves_nothing_behind_when_it_is_killed_and_starts_again(checkout):
    port = free_port()
    process = checkout.start("up", PORT=str(port))
    say_until(process, "Ctrl-C")
    process.kill()
    process.communicate(timeout=20)  # until the last child has closed its end
    wait_for(lambda: checkout.cluster.pid() is None)
    process = checkout.start("up", PORT=str(port))
    assert "password" in say_until(process, "Ctrl-C")
    end(process, signal.SIGTERM)
    assert checkout.cluster.pid() is None


def test_it_starts_once_where_it_is_started_twice_at_once(checkout):
    port = str(free_port())
    processes = [checkout.start("up", PORT=port) for _ in range(2)]
    wait_for(lambda: any(process.poll() is not None for process in processes))
    loser, winner = sorted(processes, key=lambda process: process.poll() is None)
    said, _ = loser.communicate(timeout=20)
    assert loser.returncode == 1
    assert f"Port {port} is taken by" in said
    say_until(winner, "Ctrl-C")
    end(winner, signal.SIGTERM)


def test_it_sets_up_one_database_for_two_that_start_at_once(checkout):
    processes = [checkout.start("up", PORT=str(free_port())) for _ in range(2)]
    said = [say_until(process, "Ctrl-C") for process in processes]
    assert sum("admin, password" in text for text in said) == 1
    for process in processes:
        end(process, signal.SIGTERM)


def test_it_says_who_has_the_port_and_what_to_do(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        with pytest.raises(CommandError, match=rf"process {os.getpid()} .* PORT={port + 1} make run"):
            call_command("up")


@pytest.mark.parametrize("port", ["http", "70000"])
def test_it_refuses_a_port_that_is_none(monkeypatch, port):
    monkeypatch.setenv("PORT", port)
    with pytest.raises(CommandError, match="PORT must be"):
        call_command("up")
