"""The embedded PostgreSQL, each time with a server of its own in a copy of the checkout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from onai_project.database import SOCKET_PATH_BYTES, embedded_config
from tests.onai_project.checkouts import Checkout, say_until, wait_for

pytestmark = pytest.mark.processes

SAY_UP = "print('UP', flush=True); import sys, time; time.sleep(60)"


def start_user(checkout: Checkout) -> subprocess.Popen[str]:
    """A process that uses the server until it is ended."""
    process = checkout.start("shell", "-v0", "-c", SAY_UP)
    say_until(process, "UP")
    return process


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> None:
    process.send_signal(number)
    process.communicate(timeout=30)


def test_it_serves_a_fresh_checkout_and_leaves_no_server(checkout):
    status, output = checkout.manage("migrate", "-v0")
    assert status == 0, output
    assert "Creating the embedded database" in output
    assert checkout.cluster.pid() is None
    assert checkout.python_code(
        "from django.db import connection as c; k = c.cursor();"
        "k.execute(\"SELECT upper('яқ'), current_setting('fsync'), current_setting('listen_addresses')\");"
        "print(k.fetchone())"
    ) == str(("ЯҚ", "on", ""))


def test_it_stops_the_server_when_the_last_user_ends(checkout):
    first, second = start_user(checkout), start_user(checkout)
    pid = checkout.cluster.pid()
    assert pid
    end(first)
    assert checkout.cluster.pid() == pid
    end(second)
    assert checkout.cluster.pid() is None


def test_it_takes_over_a_server_that_kill_9_left_behind(checkout):
    end(start_user(checkout), signal.SIGKILL)
    pid = checkout.cluster.pid()
    assert pid
    process = start_user(checkout)
    assert checkout.cluster.pid() == pid
    end(process)
    assert checkout.cluster.pid() is None


def test_it_keeps_what_was_committed_before_a_kill_9_of_the_server(checkout):
    create = "from django.db import connection as c; c.cursor().execute('CREATE TABLE kept ()')"
    process = checkout.start("shell", "-v0", "-c", f"{create}; {SAY_UP}")
    say_until(process, "UP")
    os.kill(checkout.cluster.pid(), signal.SIGKILL)
    end(process, signal.SIGKILL)
    assert checkout.python_code("from django.db import connection as c; print(c.introspection.table_names())") == (
        "['kept']"
    )


def test_it_starts_where_the_pid_file_names_a_process_of_somebody_else(checkout):
    end(start_user(checkout), signal.SIGKILL)
    cluster = checkout.cluster
    server = cluster.pid()
    assert server
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: cluster.pid() is None)
    # A process of the server's user: PostgreSQL by itself would take it for the server and not start.
    other = subprocess.Popen(["sleep", "60"], user=cluster.user.pw_uid if cluster.user else None)
    pid_file = cluster.data / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(server), str(other.pid), 1))
    try:
        status, output = checkout.manage("migrate", "-v0")
        assert status == 0, output
    finally:
        other.kill()
        other.wait()


def test_it_recovers_from_an_interrupted_initdb(checkout):
    process = checkout.start("migrate", "-v0")
    wait_for(lambda: list(checkout.cluster.home.glob("new-*/*")) if checkout.cluster.home.exists() else False)
    end(process, signal.SIGKILL)
    status, output = checkout.manage("migrate", "-v0")
    assert status == 0, output


def test_it_lets_two_fresh_starts_wait_for_each_other(checkout):
    processes = [checkout.start("shell", "-v0", "-c", "print('fine')") for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert checkout.cluster.pid() is None


def test_it_works_where_the_path_is_long_and_odd(make_checkout):
    checkout = make_checkout("ц, \"$x' " + "a" * 70)
    assert len(str(checkout.cluster.socket_dir)) < SOCKET_PATH_BYTES
    assert checkout.python_code("print('fine')").endswith("fine")


def test_it_gives_two_checkouts_two_servers(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert embedded_config(tmp_path / "a")["HOST"] != embedded_config(tmp_path / "b")["HOST"]


def test_it_serves_an_ordinary_user(make_checkout, ordinary_user, their_python):
    checkout = make_checkout(user=ordinary_user, python=their_python)
    assert checkout.python_code("print('fine')").endswith("fine")
    assert checkout.cluster.home.stat().st_uid == ordinary_user.pw_uid


def test_it_tells_root_whose_database_it_is(make_checkout, ordinary_user, their_python):
    checkout = make_checkout(user=ordinary_user, python=their_python)
    checkout.python_code("print()")
    checkout.python, checkout.user = sys.executable, None
    status, output = checkout.manage("migrate")
    assert status == 1
    assert f"belongs to {ordinary_user.pw_name} and you are root" in output
    assert "Traceback" not in output


def test_it_tells_an_ordinary_user_that_the_database_is_roots(make_checkout, ordinary_user, their_python):
    checkout = make_checkout()
    checkout.python_code("print()")
    checkout.python, checkout.user = their_python, ordinary_user
    status, output = checkout.manage("migrate")
    assert status == 1
    assert f"belongs to root and you are {ordinary_user.pw_name}" in output
    assert "Traceback" not in output


def test_it_serves_root_where_no_other_user_can_enter(make_checkout, ordinary_user):
    checkout = make_checkout()
    checkout.path.chmod(0o700)
    assert checkout.python_code("print('fine')").endswith("fine")
    assert checkout.cluster.home.parent != checkout.path / ".data"
    assert checkout.path.stat().st_mode & 0o777 == 0o700


def test_it_says_what_the_server_said_when_it_does_not_start(checkout):
    checkout.python_code("print()")
    with (checkout.cluster.data / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    status, output = checkout.manage("migrate")
    assert status == 1
    assert "does not start" in output
    assert "no_such_setting" in output
    assert "Traceback" not in output
