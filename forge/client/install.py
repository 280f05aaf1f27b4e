"""Makes Forge permanent, and takes that back: units, completion, man pages, the cargo wrapper.

What was done is written down in the state directory. Files are replaced in one step, and only those
that an installation has written; the first step that fails ends the installation, and what was done
until then is taken back.
"""

import hashlib
import json
import os
import pwd
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

from forge import paths
from forge.client.install_units import LABEL, UNIT, launchd_plist, systemd_unit
from forge.core.install_plan import Done, File, Folder, Record, Run, Step, is_ours, recorded
from forge.errors import ForgeError, UsageMistake
from forge.host.commands import run_command
from forge.host.state_dir import private_dir
from forge.host.whole_files import replace_file, replace_json

RECORD_NAME = "installed.json"
DEADLINE_S = 60.0
OURS = (sys.executable, "-P", "-m", "forge.cli.main")
MANAGERS = (("systemctl",), ("launchctl",))
Tell = Callable[[str], None]


class InstallFailed(ForgeError):
    """A step of an installation failed; what was done before it was taken back."""

    slug = "install-failed"
    exit_code = os.EX_CANTCREAT


class NotInstalled(ForgeError):
    """There is no installation to take away."""

    slug = "not-installed"
    exit_code = os.EX_NOINPUT


def steps(
    env: Mapping[str, str],
    *,
    user: str | None,
    wrapper: bool,
    completions: Mapping[tuple[str, str], str],
    manuals: Mapping[str, str],
) -> tuple[Step, ...]:
    """Return what an installation consists of here.

    `user`: for the machine, running as that user; None: for whoever asks. `completions` are scripts
    by shell and program, `manuals` pages by their file name. Raises UsageMistake.
    """
    is_mac = env.get("FORGE_PLATFORM", sys.platform) == "darwin"
    if user is not None:
        _check_user(user)
    manager = _launchd_steps(env, user) if is_mac else _systemd_steps(env, user)
    return (
        *_page_steps(env, user, completions, manuals),
        *(_wrapper_steps() if wrapper and user is None else ()),
        Run((*OURS, "daemon", "stop"), "the daemon that runs gives way to the manager's", (), True),
        *manager,
    )


def _check_user(user: str) -> None:
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise UsageMistake(f"there is no user {user!r}", hint="name one with --user") from None
    if os.geteuid() != 0:
        raise UsageMistake(
            "an installation for the machine needs root",
            hint=f"sudo {' '.join(OURS)} install --system --user {user}",
        )


def _systemd_steps(env: Mapping[str, str], user: str | None) -> tuple[Step, ...]:
    scope = () if user else ("--user",)
    place = f"/etc/systemd/system/{UNIT}" if user else _config(env, f"systemd/user/{UNIT}")
    reload = ("systemctl", *scope, "daemon-reload")
    linger = ("loginctl", "enable-linger")
    return (
        Run((), "systemd forgets it", reload),
        File(place, systemd_unit(env, user), "the daemon starts with the machine"),
        Run(reload, "systemd reads it"),
        *(
            ()
            if user
            else (Run(linger, "it runs while nobody is logged in", may_fail=True),)
        ),
        Run(
            ("systemctl", *scope, "enable", "--now", UNIT), "it starts now, and at each boot",
            ("systemctl", *scope, "disable", "--now", UNIT),
        ),
    )  # fmt: skip


def _launchd_steps(env: Mapping[str, str], user: str | None) -> tuple[Step, ...]:
    home = os.path.expanduser(f"~{user}") if user else paths.home(env)
    logs = f"{home}/Library/Logs/opta-forge"
    library = "/Library/LaunchDaemons" if user else f"{home}/Library/LaunchAgents"
    place = f"{library}/{LABEL}.plist"
    domain = "system" if user else f"gui/{os.getuid()}"
    return (
        Folder(logs, "launchd starts nothing whose log has no folder"),
        File(place, launchd_plist(env, user, logs), "the daemon starts with the machine"),
        Run(
            ("launchctl", "bootstrap", domain, place), "launchd loads it, and starts it",
            ("launchctl", "bootout", f"{domain}/{LABEL}"),
        ),
    )  # fmt: skip


def _page_steps(
    env: Mapping[str, str],
    user: str | None,
    completions: Mapping[tuple[str, str], str],
    manuals: Mapping[str, str],
) -> tuple[Step, ...]:
    share = "/usr/local/share" if user else os.path.join(paths.home(env), ".local", "share")
    fish = f"{share}/fish/vendor_completions.d" if user else _config(env, "fish/completions")
    places = {
        "bash": (f"{share}/bash-completion/completions/", ""),
        "zsh": (f"{share}/zsh/site-functions/_", ""),
        "fish": (f"{fish}/", ".fish"),
    }
    shells = (
        File(program.join(places[shell]), text, f"{shell} completes command lines of {program}")
        for (shell, program), text in completions.items()
    )
    pages = (
        File(f"{share}/man/man{name.rpartition('.')[2]}/{name}", text, "its manual")
        for name, text in manuals.items()
    )
    return (*shells, *pages)


def _wrapper_steps() -> tuple[Step, ...]:
    return (
        Run(
            (*OURS, "shim", "install", "--write-profile"),
            "`cargo` goes through Forge in new shells",
            (*OURS, "shim", "uninstall"),
            may_fail=True,  # without rustc there is nothing to compile it with
        ),
    )


def _config(env: Mapping[str, str], name: str) -> str:
    base = env.get("XDG_CONFIG_HOME") or os.path.join(paths.home(env), ".config")
    return os.path.join(base, name)


def install(plan: Sequence[Step], env: Mapping[str, str], tell: Tell) -> Record:
    """Take the steps, and write down what was done. Raises InstallFailed."""
    old = read_record(env)
    for one in old.done if old else ():
        if one.undo[:1] in MANAGERS:
            _run(one.undo, env, tell, may_fail=True)  # what they hold is of the old one
    taken: list[Step] = []
    for step in plan:
        try:
            _take(step, old, env, tell)
        except InstallFailed:
            _undo(recorded(taken), env, tell)
            raise
        taken.append(step)
    record = recorded(taken)
    for path, digest in (old.files if old else {}).items():
        if path not in record.files:
            _remove(path, digest, tell)  # of an older version
    _write_record(record, env)
    return record


def uninstall(env: Mapping[str, str], tell: Tell) -> None:
    """Take an installation back. Raises NotInstalled."""
    record = read_record(env)
    if record is None:
        raise NotInstalled("Forge is not installed by `forge install`")
    _undo(record, env, tell)
    with suppress(FileNotFoundError):
        os.unlink(_record_path(env))


def read_record(env: Mapping[str, str]) -> Record | None:
    """Return what was installed, if anything was."""
    try:
        with open(_record_path(env), encoding="utf-8") as file:
            document = json.load(file)
        return Record(
            tuple(
                Done(str(one["path"]), str(one["digest"]), tuple(str(word) for word in one["undo"]))
                for one in document["done"]
            )
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _take(step: Step, old: Record | None, env: Mapping[str, str], tell: Tell) -> None:
    if isinstance(step, Run):
        if step.argv:
            _run(step.argv, env, tell, may_fail=step.may_fail)
        return
    try:
        if isinstance(step, Folder):
            os.makedirs(step.path, exist_ok=True)
            return
        found = _digest(step.path)
        if found is not None and found != step.digest and not is_ours(old, step.path, found):
            raise InstallFailed(
                f"{step.path} is there, and is not of ours",
                hint="move it away, or keep it and stop",
            )
        os.makedirs(os.path.dirname(step.path), exist_ok=True)
        replace_file(step.path, step.text, mode=0o644)
        tell(f"written: {step.path}")
    except OSError as error:
        raise InstallFailed(f"{step.path}: {error.strerror}") from None


def _undo(record: Record, env: Mapping[str, str], tell: Tell) -> None:
    for one in reversed(record.done):
        if one.path:
            _remove(one.path, one.digest, tell)
        else:
            _run(one.undo, env, tell, may_fail=True)


def _remove(path: str, digest: str, tell: Tell) -> None:
    found = _digest(path)
    if found is None:
        return
    if found != digest:
        tell(f"left alone, since it was changed: {path}")
        return
    try:
        os.unlink(path)
        tell(f"removed: {path}")
    except OSError as error:
        tell(f"left behind: {path}: {error.strerror}")


def _run(argv: tuple[str, ...], env: Mapping[str, str], tell: Tell, *, may_fail: bool) -> None:
    shown = " ".join(("forge", *argv[len(OURS) :]) if argv[: len(OURS)] == OURS else argv)
    try:
        told = run_command(argv, deadline_s=DEADLINE_S, env=env)
        said = (told.text.splitlines() or [f"exit code {told.exit_code}"])[-1]
        reason = said if told.exit_code else ""
    except (OSError, ForgeError) as error:
        reason = str(error)
    if not reason:
        tell(f"done: {shown}")
    elif may_fail:
        tell(f"not done: {shown}: {reason}")
    else:
        raise InstallFailed(f"`{shown}`: {reason}")


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def _record_path(env: Mapping[str, str]) -> str:
    return os.path.join(paths.state_dir(env), RECORD_NAME)


def _write_record(record: Record, env: Mapping[str, str]) -> None:
    private_dir(paths.state_dir(env))
    replace_json(_record_path(env), asdict(record))
