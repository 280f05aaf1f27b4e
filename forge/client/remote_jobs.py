"""Jobs that go on without us: which there are on a host, and following one as if it were ours."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from forge.client.remote import end_like, hello
from forge.client.remote_checkout import Checkouts, checkout_of
from forge.client.remote_finals import local_target_dir
from forge.client.remote_link import Link
from forge.client.remote_run import Running
from forge.client.remote_ssh import start_ssh
from forge.core.remote_frames import FrameType, encode
from forge.core.remote_messages import Attach, JobList, Started, Welcome
from forge.core.remote_paths import PathRewriter
from forge.errors import ForgeError
from forge.host.workspaces import Workspaces


class NoSuchJob(ForgeError):
    """There is no job on the host that goes on without its client."""

    slug = "no-such-job"
    exit_code = os.EX_DATAERR


@contextlib.contextmanager
def connected(host: str, env: Mapping[str, str]) -> Iterator[tuple[Link, Welcome]]:
    """Talk to a host; the connection ends with this."""
    link = Link(start_ssh(host, env), host)
    try:
        link.send(hello())
        welcome = link.expect(Welcome)
        assert isinstance(welcome, Welcome)
        yield link, welcome
        link.send_bytes(encode(FrameType.BYE))
    except BaseException:
        link.leave()
        raise
    link.close()


def jobs(host: str, env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the jobs of our key on a host, newest first."""
    with connected(host, env) as (link, _):
        return _jobs(link)


def attach(host: str, job: str | None, env: Mapping[str, str]) -> int:
    """Follow a job to its end, the newest one that runs when none is named; end as it does.

    Raises NoSuchJob.
    """
    with connected(host, env) as (link, _):
        link.send(Attach(job=job or _newest(link, host)))
        places = _places(host, env)

        def started(message: Started) -> bool:
            here = dict(places)
            if message.target_dir and "" in here:
                here[message.target_dir] = here[""]
            here.pop("", None)
            running.stdout.rewrite(PathRewriter(here))
            running.stderr.rewrite(PathRewriter(here))
            return False

        running = Running(link, has_stdin=False, started=started)
        ended = running.attend()
    return end_like(ended)


def _newest(link: Link, host: str) -> str:
    for one in _jobs(link):
        if one.get("is_running") is True and isinstance(one.get("job"), str):
            return str(one["job"])
    raise NoSuchJob(f"no job runs on `{host}`", hint=f"`forge attach --list --on {host}` lists all")


def _jobs(link: Link) -> list[dict[str, Any]]:
    link.send_bytes(encode(FrameType.JOBS))
    answer = link.expect(JobList)
    assert isinstance(answer, JobList)
    return answer.jobs


def _places(host: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return what the host's paths are here, if we stand in the checkout; `""`: the target dir."""
    workspace = Workspaces().find(os.getcwd(), [], env)
    if workspace.root is None:
        return {}
    checkout = checkout_of(workspace.root, env)
    root = Checkouts(checkout, env).root_on(host)
    if not root:
        return {}
    return {root: checkout.top, "": local_target_dir(workspace.root, workspace.config, env)}
