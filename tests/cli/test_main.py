"""The way from a command line to cargo or to a command of Forge's own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forge.cli import main
from forge.cli.commands import root
from forge.cli.main import OWN_COMMANDS
from tests.cli.conftest import Forge

SLOW = ("click", "rich", "asyncio", "psutil", "watchdog", "toml", "tomllib", "dataclasses")


def run_forge(env: dict[str, str], *argv: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "forge.cli.main", *argv],
        env=env, text=True, capture_output=True, timeout=30, check=False, **options,
    )  # fmt: skip


@pytest.fixture
def env_with_cargo(env: dict[str, str], place: Path) -> dict[str, str]:
    """A cargo that prints its arguments, run without a daemon."""
    cargo = place / "cargo"
    cargo.write_text('#!/bin/sh\nfor word; do printf "<%s>" "$word"; done\nexit 7\n')
    cargo.chmod(0o755)
    return {**env, "FORGE_REAL_CARGO": str(cargo), "FORGE_DISABLE": "1"}


@pytest.mark.parametrize(
    ("argv", "cargos"),
    [
        (["build", "--release"], "<build><--release>"),
        (["b"], "<b>"),
        (["+nightly", "test", "--", "--nocapture"], "<+nightly><test><--><--nocapture>"),
        (["nextest", "run"], "<nextest><run>"),  # a verb that nobody has told us of
        (["cargo", "status"], "<status>"),  # the way out when both have a name
        (["cargo", "config", "get"], "<config><get>"),
        (["cargo", "help", "build"], "<help><build>"),
        (["cargo"], ""),
        (["help", "build"], "<help><build>"),
        (["build", "--help"], "<build><--help>"),
        (["--color", "always", "build"], "<--color><always><build>"),
        (["--config=net.offline=true", "build"], "<--config=net.offline=true><build>"),
        (["-C", "/", "-qv", "build"], "<-C></><-qv><build>"),
        (["-Zunstable-options", "-C/", "build"], "<-Zunstable-options><-C/><build>"),
        (["--list"], "<--list>"),
        (["--forge-priority", "batch", "-v", "build"], "<-v><build>"),
        (["--forge-wait-timeout=0", "+nightly", "build", "--", "-x"], "<+nightly><build><--><-x>"),
        (["cargo", "--forge-priority=batch", "status"], "<status>"),
        (["run", "x", "--forge-priority", "batch"], "<run><x><--forge-priority><batch>"),
    ],
)
def test_every_verb_that_is_not_forges_own_goes_to_cargo_without_our_own_options(
    env_with_cargo, argv, cargos
):
    result = run_forge(env_with_cargo, *argv)
    assert (result.stdout, result.stderr, result.returncode) == (cargos, "", 7)


def test_nothing_slow_is_loaded_before_cargo_is_handed_its_command_line(env):
    probe = (
        "import sys, forge.client.build as build\n"
        "build.run = lambda argv, env: print(argv, *sys.modules, sep='\\n') or 0\n"
        "from forge.cli.main import run\n"
        "sys.exit(run(['build', '-v'], {}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], env=env, text=True, capture_output=True, check=True
    )
    argv, *modules = result.stdout.splitlines()
    assert argv == "['build', '-v']"
    assert "forge.config" not in modules
    assert "forge.cli.commands" not in modules
    assert [name for name in SLOW if name in modules] == []


@pytest.mark.parametrize(
    "word", ["--release", "-x", "--forge-prio", "--target-dir=/x", "--", "--features"]
)
def test_an_unknown_option_before_the_verb_is_named(forge: Forge, word):
    result = forge(word, "build")
    assert result.code == os.EX_USAGE
    assert result.err.startswith(f"forge: there is no option `{word}` before the verb")
    assert result.err.count("\n") == 1


def test_the_names_that_main_knows_are_the_commands_that_exist(forge: Forge):
    for name in OWN_COMMANDS:
        assert root.get_command(None, name) is not None, name  # type: ignore[arg-type]


@pytest.mark.parametrize("argv", [[], ["help"], ["--help"], ["-h"], ["help", "--help"]])
def test_forge_alone_shows_what_it_can_do(forge: Forge, argv):
    result = forge(*argv)
    assert result.code == 0
    assert "Usage: forge" in result.out
    if argv != ["help", "--help"]:
        assert "cargo VERB" in result.out
        assert all(name in result.out for name in OWN_COMMANDS)
        assert "..." not in result.out.replace("[ARGS]...", "")  # no short help is cut off


def test_help_of_a_command_is_reached_either_way(forge: Forge):
    assert forge("help", "disk", "resize").out == forge("disk", "resize", "--help").out
    assert "96GiB" in forge("disk", "resize", "--help").out


def test_help_of_a_command_that_is_not_there_says_so(forge: Forge):
    result = forge("help", "disk", "format")
    assert result.code == os.EX_USAGE
    assert "there is no command `forge disk format`" in result.err


def test_version_is_forges_own(forge: Forge):
    assert forge("--version").out == "forge 0.1.0\n"
    assert forge("-V").out == "forge 0.1.0\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["status", "--nope"], "no such option"),
        (["disk", "format"], "no such command"),
        (["disk", "resize"], "missing argument 'SIZE'"),
        (["disk", "resize", "64GB"], "'64GB' is not a size"),
        (["disk", "resize", "0MiB"], "less than 1 MiB"),
        (["daemon", "logs", "-n", "few"], "'few' is not a valid integer"),
        (["completion", "tcsh"], "tcsh"),
        (["target", "path", "/no/such/directory"], "does not exist"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_64(forge: Forge, argv, says):
    result = forge(*argv)
    assert result.code == os.EX_USAGE
    assert result.err.startswith("forge: ")
    assert result.err.count("\n") == 1
    assert says in result.err
    assert result.out == ""


def test_a_failure_is_an_object_as_well_where_json_is_asked_for(forge: Forge):
    result = forge("disk", "status", "--json")
    assert result.code == os.EX_UNAVAILABLE
    assert '"slug": "daemon-unreachable"' in result.out
    assert result.err.startswith("forge: no daemon answers on ")


def test_a_reader_that_goes_away_is_no_failure_worth_a_word(env):
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        [sys.executable, "-m", "forge.cli.main", "config", "show"],
        env=env, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write_end)
    assert (process.returncode, process.stderr) == (141, "")


def test_closed_standard_streams_do_no_harm(env):
    script = f"exec {sys.executable} -m forge.cli.main status >&- 2>&-"
    process = subprocess.run(["/bin/sh", "-c", script], env=env, check=False)
    assert process.returncode == os.EX_UNAVAILABLE


def test_ctrl_c_ends_with_130_and_no_traceback(env, place):
    with subprocess.Popen(
        [sys.executable, "-m", "forge.cli.main", "daemon", "logs", "--follow"],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        (place / "state").mkdir()
        (place / "state" / "forged.log").write_text('{"decision": "first"}\n')
        assert process.stdout
        assert "first" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err.strip()) == (130, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script_for_each_shell(forge: Forge, shell):
    result = forge("completion", shell)
    assert result.code == 0
    assert "_FORGE_COMPLETE" in result.out
    for program in ("opta-start", "opta-stop", "opta-status"):
        assert program in result.out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("forge sta", "plain,status"),
        ("forge che", "plain,check"),  # cargo's verbs are offered too
        ("forge disk un", "plain,unmount"),
        ("forge disk unmount --fo", "plain,--force"),
        ("forge build sr", "file,sr"),
        ("forge services start eng", "plain,engine"),
        ("forge services logs eng", "plain,engine"),
    ],
)
def test_shells_are_told_what_may_come_next(env, words, offered):
    declare_engine(env)
    asked = {"_FORGE_COMPLETE": "bash_complete", "COMP_WORDS": words,
             "COMP_CWORD": str(len(words.split()) - 1)}  # fmt: skip
    result = run_forge({**env, **asked})
    assert offered in result.stdout.splitlines()


def declare_engine(env):
    Path(env["FORGE_CONFIG"]).write_text('[services.engine]\nruns = "process"\ncommand = ["x"]\n')


@pytest.mark.parametrize(("shell", "words", "at", "offered"), [
    ("bash", "opta-start e", "1", "plain,engine"),
    ("bash", "opta-start engine ", "2", ""),  # it is named already
    ("bash", "opta-status --j", "1", "plain,--json"),
    ("zsh", "opta-stop ", "1", "plain\nengine\nengine"),
    ("fish", "opta-start e", "e", "plain,engine"),
])  # fmt: skip
def test_the_opta_commands_are_completed_as_well(env, shell, words, at, offered):
    declare_engine(env)
    verb = words.split()[0].removeprefix("opta-")
    asked = {"_FORGE_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": at}
    code = f"from forge.cli.cmd_services import {verb}_main; raise SystemExit({verb}_main())"
    told = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**env, **asked}, capture_output=True, text=True
    )
    assert told.stderr == ""
    assert told.stdout.startswith(offered) if offered else not told.stdout.strip()


@pytest.mark.parametrize("group", ["disk", "target", "daemon", "config"])
def test_a_group_alone_shows_its_commands(forge: Forge, group):
    result = forge(group)
    assert result.code == 0
    assert result.out == forge(group, "--help").out


@pytest.mark.parametrize(("argv", "ours"), [
    (["install"], True),
    (["install", "--dry-run"], True),
    (["install", "--system", "--user", "opta"], True),
    (["install", "ripgrep"], False),
    (["install", "--path", "."], False),
    (["uninstall"], True),
    (["uninstall", "ripgrep"], False),
])  # fmt: skip
def test_install_with_a_crate_is_cargos(argv, ours):
    assert main._is_own(argv, {}) is ours
