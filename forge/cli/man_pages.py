"""The manual, made of the help texts and the settings: man(7) pages that cannot fall behind."""

import inspect
import re
from collections.abc import Iterator

import click

import forge
from forge.cli.commands import HELP_OPTIONS, root
from forge.config import SETTINGS

OPTA = ("start", "stop", "status")
"""Commands of `forge services` that have a name of their own."""

_HEAD = '.TH "{name}" "{section}" "" "Opta Forge {version}" "Opta Forge"\n'


def man_pages() -> dict[str, str]:
    """Return the pages by file name: `forge.1`, one for each command, `forge.toml.5`."""
    pages = {"forge.1": _page(root, "forge")}
    context = _context(root, "forge")
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command, f"{name} is a command"
        pages[f"forge-{name}.1"] = _page(command, f"forge {name}")
        if isinstance(command, click.Group) and name == "services":
            pages |= {
                f"opta-{verb}.1": _page(command.commands[verb], f"opta-{verb}") for verb in OPTA
            }
    pages["forge.toml.5"] = _settings_page()
    return pages


def _context(command: click.Command, name: str) -> click.Context:
    """Return a context as `root` makes them: commands keep the options for help of their first."""
    return click.Context(command, info_name=name, help_option_names=HELP_OPTIONS)


def _page(command: click.Command, path: str) -> str:
    context = _context(command, path)
    summary = command.get_short_help_str(200).rstrip(".")
    parts = [
        _HEAD.format(name=path.replace(" ", "-").upper(), section=1, version=forge.__version__),
        f".SH NAME\n{_text(path.replace(' ', '-'))} \\- {_text(summary)}\n",
        f".SH SYNOPSIS\n.B {_text(' '.join([path, *command.collect_usage_pieces(context)]))}\n",
        f".SH DESCRIPTION\n{_paragraphs(command.help or '')}",
        *_options(command),
    ]
    if isinstance(command, click.Group):
        parts += _commands(command, context, path)
    parts += _examples(command)
    parts.append(".SH SEE ALSO\n.BR forge (1),\n.BR forge.toml (5),\n.BR cargo (1)\n")
    return "".join(parts)


def _options(command: click.Command) -> Iterator[str]:
    options = [one for one in command.params if isinstance(one, click.Option)]
    if options:
        yield ".SH OPTIONS\n"
    for option in options:
        yield f".TP\n.B {_text(', '.join(option.opts))}\n{_text(option.help or '')}\n"


def _commands(group: click.Group, context: click.Context, path: str) -> Iterator[str]:
    yield ".SH COMMANDS\n"
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command, f"{name} is a command"
        inner = _context(command, name)
        words = [path, name, *command.collect_usage_pieces(inner)]
        yield f".TP\n.B {_text(' '.join(words))}\n{_text(command.get_short_help_str(200))}\n"


def _examples(command: click.Command) -> Iterator[str]:
    lines = [line[2:] for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    if lines:
        yield ".SH EXAMPLES\n.nf\n" + "".join(f"{_text(line)}\n" for line in lines) + ".fi\n"


def _settings_page() -> str:
    head = _HEAD.format(name="FORGE.TOML", section=5, version=forge.__version__)
    name = ".SH NAME\nforge.toml \\- configuration of Opta Forge\n"
    about = (
        ".SH DESCRIPTION\nAll settings are optional, and so is the file. The daemon reads it again"
        " whenever it\nchanges. Services are declared in tables [services.NAME].\n.SH SETTINGS\n"
    )
    entries = (
        f".TP\n.B {_text(one.key)}\n{_text(one.meaning)}\n"
        f"Takes {_text(one.expects)}. Default: {_text(str(one.default).lower())}.\n"
        for one in SETTINGS
    )
    return head + name + about + "".join(entries) + ".SH SEE ALSO\n.BR forge (1)\n"


def _paragraphs(text: str) -> str:

    blocks = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return ".PP\n".join(f"{_text(' '.join(block.split()))}\n" for block in blocks)


def _text(text: str) -> str:
    """Escape what man(7) would take for a request: backslashes, hyphens, a dot at the beginning."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    escaped = "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in escaped)
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
