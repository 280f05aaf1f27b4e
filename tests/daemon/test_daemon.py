"""The daemon as a process: its socket, its leases, its restarts, its configuration."""

import json
import os
import signal
import subprocess
import sys

import pytest

from forge.core import wire
from forge.errors import DaemonRefused
from tests.daemon.harness import ROOT, RealDaemon


def talk(daemon, *lines):
    """Send raw lines, return the replies to them as objects."""
    with daemon.raw() as sock:
        sock.sendall(b"".join(lines))
        received = b""
        while received.count(b"\n") < len(lines):
            piece = sock.recv(65536)
            if not piece:
                break
            received += piece
    return [json.loads(line) for line in received.splitlines()]


STATUS = b'{"v":1,"type":"status"}\n'


class TestSocket:
    def test_socket_and_directory_are_the_users_alone(self, daemon):
        daemon.start()
        state = daemon.home / "state"
        assert state.stat().st_mode & 0o777 == 0o700
        assert (state / "forged.sock").stat().st_mode & 0o777 == 0o600

    def test_garbage_is_answered_and_logged_and_the_connection_goes_on(self, daemon):
        daemon.start()
        garbage = [b"\xff\xfe\n", b"{}\n", b'{"v":1,"type":"dance"}\n', b"[" * 5000 + b"\n"]
        replies = talk(daemon, *garbage, STATUS)
        assert [reply["type"] for reply in replies] == ["error"] * 4 + ["status"]
        logged = [one for one in daemon.decisions() if one["decision"] == "peer.garbage"]
        assert len(logged) == 4

    def test_unknown_fields_are_ignored(self, daemon):
        daemon.start()
        (reply,) = talk(daemon, b'{"v":1,"type":"status","from":"the future"}\n')
        assert reply["type"] == "status"

    def test_another_version_is_told_to_restart_the_daemon(self, daemon):
        daemon.start()
        (reply,) = talk(daemon, b'{"v":99,"type":"status"}\n')
        assert reply["slug"] == "protocol-mismatch"
        assert "daemon restart" in reply["hint"]

    def test_an_endless_line_costs_its_sender_the_connection(self, daemon):
        daemon.start()
        with daemon.raw() as sock:
            try:
                sock.sendall(b"x" * (wire.MAX_LINE_BYTES + 100))
                reply = sock.recv(65536)
                rest = sock.recv(65536)
            except ConnectionError:
                reply, rest = b"over the limit", b""
        assert b"over the limit" in reply
        assert rest == b""
        assert daemon.status()

    def test_half_a_line_holds_nobody_up(self, daemon):
        daemon.start()
        with daemon.raw() as silent, daemon.raw() as half:
            half.sendall(b'{"v":1,"ty')
            assert daemon.status()
            half.sendall(b'pe":"status"}\n')
            assert b'"status"' in half.recv(65536)
            silent.close()

    def test_a_client_that_reads_nothing_is_dropped(self, daemon):
        daemon.start()
        with daemon.raw() as deaf:
            deaf.settimeout(0.5)
            try:
                for _ in range(40_000):
                    deaf.sendall(STATUS)
            except (TimeoutError, ConnectionError):
                pass
            daemon.wait_for(
                lambda: any(one["decision"] == "peer.deaf" for one in daemon.decisions()),
                "the deaf client is dropped",
            )
        assert daemon.status()

    @pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which needs root")
    def test_another_user_is_turned_away_even_if_the_socket_is_open_to_him(self, daemon):
        daemon.start()
        for path in (daemon.home, daemon.home / "state", daemon.home / "state/forged.sock"):
            path.chmod(0o777)
        code = (
            "import os, socket, sys; os.setuid(65534)\n"
            "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
            f"s.sendall({STATUS!r}); sys.stdout.buffer.write(s.recv(100))"
        )
        stranger = subprocess.run(
            [sys.executable, "-c", code, str(daemon.home / "state/forged.sock")],
            capture_output=True, check=False,
        )  # fmt: skip
        assert b"status" not in stranger.stdout
        daemon.wait_for(
            lambda: any(one["decision"] == "peer.refused" for one in daemon.decisions()),
            "the refusal is logged",
        )

    def test_five_hundred_connections_are_served(self, daemon):
        daemon.start()
        socks = [daemon.raw() for _ in range(500)]
        try:
            for sock in socks:
                sock.sendall(STATUS)
            for sock in socks:
                assert b'"status"' in sock.recv(65536)
        finally:
            for sock in socks:
                sock.close()


class TestLeases:
    def test_a_build_ends_with_its_connection_before_cargo_starts(self, daemon, project):
        daemon.start()
        connection = daemon.connect()
        go = daemon.begin(connection, project, "build")
        assert go["target_dir"].startswith(str(daemon.mount_point))
        assert len(daemon.status()["builds"]) == 1
        connection.close()
        daemon.wait_for(lambda: not daemon.status()["builds"], "its end")

    def test_a_build_ends_with_its_process_though_somebody_holds_its_connection(
        self, daemon, project
    ):
        daemon.start()
        sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        connection = daemon.connect()
        daemon.begin(connection, project, "build", pid=sleeper.pid)
        assert [build["pid"] for build in daemon.status()["builds"]] == [sleeper.pid]
        sleeper.communicate(b"\n")
        daemon.wait_for(lambda: not daemon.status()["builds"], "its end")
        connection.close()

    def test_the_cargo_of_a_killed_launcher_is_ended(self, daemon, project):
        daemon.start()
        launcher = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        cargo = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        connection = daemon.connect()
        daemon.begin(connection, project, "build", pid=launcher.pid)
        connection.send({"type": "started", "pid": cargo.pid})
        daemon.wait_for(lambda: daemon.status()["builds"][0]["cargo_pid"], "cargo is known")
        launcher.kill()
        launcher.communicate()
        assert cargo.wait(10) == -signal.SIGTERM
        cargo.communicate()
        daemon.wait_for(lambda: not daemon.status()["builds"], "the build is forgotten")
        connection.close()

    def test_a_build_that_runs_is_adopted_by_the_next_daemon(self, daemon, project):
        first = daemon.start()
        connection = daemon.connect()
        go = daemon.begin(connection, project, "build")
        os.kill(first, signal.SIGKILL)
        daemon.processes[0].wait(10)
        connection.close()
        daemon.start()
        connection = daemon.connect()
        adopted = connection.ask(
            {
                "type": "adopt", "pid": os.getpid(), "build": go["build"], "cargo_pid": os.getpid(),
                "cwd": str(project), "argv": ["build"], "target_dir": go["target_dir"],
            },
            patience_s=10,
        )  # fmt: skip
        assert adopted["build"] == go["build"]
        daemon.wait_for(lambda: daemon.status()["disk"]["phase"] == "mounted", "the disk")
        with pytest.raises(DaemonRefused, match="used by 1 build"):
            disk = daemon.connect()
            try:
                disk.ask({"type": "disk", "verb": "unmount"}, patience_s=10)
            finally:
                disk.close()
        connection.close()


class TestLife:
    def test_a_second_daemon_for_the_same_directory_ends_at_once(self, daemon):
        pid = daemon.start()
        second = subprocess.run(
            [sys.executable, "-m", "forge.daemon.main"], env=daemon.env, cwd=ROOT,
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
        assert second.returncode == 0
        assert "another daemon runs" in second.stderr
        assert daemon.status()["pid"] == pid

    def test_after_a_kill_the_next_one_starts_over_the_old_socket_and_adopts_the_disk(
        self, daemon, project
    ):
        first = daemon.start()
        connection = daemon.connect()
        path = daemon.begin(connection, project, "build")["target_dir"]
        os.kill(first, signal.SIGKILL)
        daemon.processes[0].wait(10)
        connection.close()
        assert daemon.start() != first
        again = daemon.connect()
        go = daemon.begin(again, project, "build")
        assert go["target_dir"] == path
        assert go["build"] != "b1", "ids are never used twice"
        status = daemon.status()
        assert status["disk"]["adopted"]
        assert [one["root"] for one in status["target_dirs"]] == [str(project)]
        again.close()

    def test_stop_ends_it_and_takes_the_socket_away(self, daemon):
        daemon.start()
        connection = daemon.connect()
        assert connection.ask({"type": "stop"}, patience_s=10)["line"] == "daemon ends"
        connection.close()
        assert daemon.processes[0].wait(10) == 0
        assert not (daemon.home / "state/forged.sock").exists()

    def test_one_that_nobody_can_reach_any_more_ends_and_leaves_the_new_ones_socket(self, daemon):
        daemon.start()
        (daemon.home / "state/forged.sock").unlink()
        (daemon.home / "state/forged.lock").unlink()
        second = daemon.start()
        assert daemon.processes[0].wait(15) == 0
        assert daemon.status()["pid"] == second

    def test_an_argument_that_it_does_not_know_is_refused(self):
        run = subprocess.run(
            [sys.executable, "-m", "forge.daemon.main", "--fast"],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        assert run.returncode == os.EX_USAGE
        assert "'--fast'" in run.stderr

    def test_a_state_dir_with_too_long_a_path_is_refused_in_one_line(self, daemon):
        env = {**daemon.env, "FORGE_STATE_DIR": str(daemon.home / ("d" * 120))}
        run = subprocess.run(
            [sys.executable, "-m", "forge.daemon.main"], env=env, cwd=ROOT,
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
        assert run.returncode == os.EX_CONFIG
        assert len(run.stderr.splitlines()) == 1
        assert "too long" in run.stderr


class TestConfiguration:
    def test_a_changed_file_is_noticed_and_the_disk_resized(self, daemon, project):
        daemon.start()
        connection = daemon.connect()
        daemon.begin(connection, project, "build")
        text = daemon.config.read_text().replace("128MiB", "160MiB")
        draft = daemon.config.with_suffix(".new")
        draft.write_text(text)
        draft.replace(daemon.config)  # as editors do
        daemon.wait_for(lambda: daemon.status()["disk"]["size_mib"] == 160, "the new size")
        connection.close()

    def test_a_wrong_file_is_refused_with_its_line_and_the_old_one_stays(self, daemon):
        daemon.start()
        before = daemon.status()["disk"]["wanted_mib"]
        daemon.config.write_text("[disk]\nsize = 5\n")
        refused = daemon.wait_for(
            lambda: [one for one in daemon.decisions() if one["decision"] == "config.refused"],
            "the refusal",
        )
        assert "forge.toml:2: `disk.size` cannot be 5" in refused[0]["reason"]
        assert daemon.status()["disk"]["wanted_mib"] == before
        connection = daemon.connect()
        with pytest.raises(DaemonRefused, match="cannot be 5") as caught:
            connection.ask({"type": "reload"}, patience_s=10)
        assert caught.value.exit_code == os.EX_CONFIG
        connection.close()

    def test_a_file_that_appears_later_in_a_new_directory_is_noticed(self, daemon):
        daemon.env["FORGE_CONFIG"] = str(daemon.home / "etc/forge/forge.toml")
        daemon.start()
        assert daemon.status()["config_file"] is None
        os.makedirs(daemon.home / "etc/forge")
        (daemon.home / "etc/forge/forge.toml").write_text("[host]\ncores = 7\n")
        daemon.wait_for(lambda: daemon.status()["cores"] == 7, "the new file")

    def test_it_starts_with_the_defaults_when_the_file_is_wrong(self):
        daemon = RealDaemon(config='[disk]\nkind = "floppy"\n')
        try:
            daemon.start()
            assert daemon.status()["config_file"] is None
            assert daemon.decisions()[0]["decision"] == "config.refused"
        finally:
            daemon.close()


class TestDisk:
    def test_mount_resize_recreate_unmount(self, daemon, project):
        daemon.start()
        connection = daemon.connect()

        def disk(verb, **more):
            return connection.ask({"type": "disk", "verb": verb, **more}, patience_s=10)

        assert disk("mount")["disk"]["phase"] == "mounted"
        assert disk("resize", size_mib=80)["disk"]["size_mib"] == 80
        assert disk("recreate")["disk"]["size_mib"] == 128
        assert disk("unmount")["line"] == "the RAM disk is unmounted"
        assert not daemon.mount_point.exists()
        connection.close()

    def test_a_disk_deleted_behind_its_back_is_noticed_while_a_build_runs(self, daemon, project):
        daemon.start()
        connection = daemon.connect()
        daemon.begin(connection, project, "build")
        (daemon.mount_point / ".opta-forge-disk.json").unlink()
        assert "the RAM disk is gone" in connection.receive(10)["line"]
        assert daemon.status()["disk"]["phase"] == "absent"
        connection.close()
