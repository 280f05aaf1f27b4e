"""The sshd of these tests is a real one."""

from tests.scenarios.sshd import Sshd, sshd

__all__ = ["sshd"]


def test_a_key_comes_in_when_it_is_authorised_and_runs_its_own_command_alone(sshd: Sshd):
    public = sshd.make_key("laptop")
    refused = sshd.ssh("id")
    assert refused.returncode == 255
    assert b"Permission denied" in refused.stderr
    line = f'restrict,command="/bin/echo forced" {public.read_text()}'
    sshd.authorized_keys.write_text(line)
    done = sshd.ssh("id; touch /tmp/never")
    assert (done.returncode, done.stdout) == (0, b"forced\n"), done.stderr


def test_a_host_that_is_not_the_one_we_know_is_refused_by_ssh_itself(sshd: Sshd):
    sshd.change_host_key()
    done = sshd.ssh("id")
    assert done.returncode == 255
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
