"""`forge config`: what is set, what holds, and a file to begin with."""

import os
from pathlib import Path

import click

from forge import paths
from forge.cli.commands import Call, Group, examples, json_option, pass_call
from forge.cli.config_file import reference_text, rows, write_config
from forge.cli.questions import ask_status, say
from forge.cli.render import plain, print_json, print_lines, settings_view
from forge.client import this_machine
from forge.config import Config, load, memory_map
from forge.core.units import MIB, plural
from forge.errors import ConfigInvalid, ForgeError


@click.group(
    cls=Group,
    epilog=examples("forge config show", "forge config init", "forge config check"),
)
def config() -> None:
    """Show, check or begin the configuration file, forge.toml.

    All settings are optional; so is the file. The daemon reads it again whenever it changes.
    """


@config.command(epilog=examples("forge config show", "forge config show --json"))
@json_option
@pass_call
def show(call: Call) -> None:
    """Show every setting, with the value in force.

    The last column says where it comes from. `file`: forge.toml sets it. `default`: nobody does.
    `computed`: from the machine; the value is the running daemon's, and `auto` when none runs.
    """
    file = Path(paths.config_file(call.env))
    settings = rows(load(file), _computed(call, file))
    if call.as_json:
        print_json({"file": str(file), "exists": file.exists(), "settings": settings})
        return
    print_lines(settings_view((one["key"], _shown(one["value"]), one["from"]) for one in settings))


@config.command(epilog=examples("forge config path", '$EDITOR "$(forge config path)"'))
@pass_call
def path(call: Call) -> None:
    """Print where forge.toml is looked for. It need not exist."""
    click.echo(os.fsencode(paths.config_file(call.env)))


@config.command(epilog=examples("forge config check", "forge config check ./forge.toml"))
@click.argument("file", metavar="[FILE]", required=False)
@pass_call
def check(call: Call, file: str | None) -> None:
    """Check forge.toml, or FILE.

    One line says what is wrong, and the exit code is 78. The memory map must fit the memory:
    host.memory, or else this machine's. The daemon checks the file by itself when it changes, and
    keeps what held before when it is wrong.
    """
    place = Path(file or paths.config_file(call.env))
    if not place.exists():
        if file:
            raise ConfigInvalid(f"{file}: there is no such file")
        click.echo(f"{plain(place)}: there is none, so every setting has its default")
        return
    cfg = load(place)
    memory_map(cfg, _memory_mib(call, cfg), str(place))
    click.echo(f"{plain(place)}: {plural(len(cfg.values), 'setting')}, all right")


@config.command(
    epilog=examples(
        "forge config init", "forge config init --force", "forge config init --reference"
    )
)
@click.option("--force", is_flag=True, help="Replace a file that is there; a copy of it is kept.")
@click.option("--reference", is_flag=True, help="Write that of the reference host, services too.")
@pass_call
def init(call: Call, force: bool, reference: bool) -> None:
    """Write a forge.toml that names every setting and changes none.

    All settings in it are comments, but for --reference. A file that is there is left alone without
    --force, and kept beside the new one with it.
    """
    file = paths.config_file(call.env)
    kept = write_config(file, force=force, text=reference_text() if reference else None)
    if kept:
        say(f"the file that was there is kept as {kept}")
    click.echo(f"written: {plain(file)}")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _computed(call: Call, file: Path) -> dict[str, object]:
    """Return what the running daemon has computed, when it reads the same file as we do."""
    try:
        report = ask_status(call)
    except ForgeError:
        return {}
    finally:
        call.failure_fields = {}
    theirs = report.get("config_file")
    if theirs != (str(file) if file.exists() else None):
        say(f"the daemon reads {theirs or 'no file'}; computed values are left out")
        return {}
    disk, planned = report["disk"], report["memory_map"]
    found: dict[str, object] = {
        "host.memory": planned["total_mib"],
        "host.cores": report["cores"],
        "host.low_water": _mib((report.get("memory") or {}).get("low_water_bytes")),
        "disk.kind": disk["kind"],
        "disk.size": disk["wanted_mib"],
        "disk.mount_point": disk["mount_point"],
        "disk.inodes": disk["total_files"] or None,
    }
    found |= {f"memory_map.{row['key']}": row["size_mib"] for row in planned["rows"]}
    return {key: value for key, value in found.items() if value is not None}


def _mib(count: int | None) -> int | None:
    return None if count is None else count // MIB


def _memory_mib(call: Call, cfg: Config) -> int:
    """Return what the rows must fit: what is set, what the daemon plans with, what there is."""
    if cfg["host.memory"] is not None:
        return int(cfg["host.memory"])
    try:
        return int(ask_status(call)["memory_map"]["total_mib"])
    except ForgeError:
        return this_machine.memory_mib()
