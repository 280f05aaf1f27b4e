"""The documentation has an entry for everything that has a name, and none for what is gone."""

import importlib
import inspect
import pkgutil
import re
import string
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import forge
from forge.cli.commands import root
from forge.config import SETTINGS
from forge.core.builds import BuildPhase
from forge.core.disk import DiskKind
from forge.core.disk_life import DiskPhase
from forge.core.memory_map import Tenancy
from forge.core.outcome import Outcome
from forge.errors import ForgeError

TOP = Path(__file__).parent.parent
DOCS = TOP / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *TOP.glob("*.md")])


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def sections(name: str, level: int = 2) -> dict[str, str]:
    """The text below each heading of a level, up to the next one of that level or above."""
    found: dict[str, str] = {}
    heading = ""
    for line in page(name).splitlines():
        match = re.match(r"(#+) (.*)", line)
        if match and len(match[1]) <= level:
            heading = match[2] if len(match[1]) == level else ""
        elif heading:
            found[heading] = found.get(heading, "") + line + "\n"
    return found


def one_line(text: str) -> str:
    return " ".join(text.split())


def commands(
    command: click.Command = root, path: str = "forge"
) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child
            yield from commands(child, f"{path} {name}")


def errors(kind: type[ForgeError] = ForgeError) -> set[type[ForgeError]]:
    for module in pkgutil.walk_packages(forge.__path__, "forge."):
        importlib.import_module(module.name)
    found = {kind}
    for child in kind.__subclasses__():
        found |= errors(child)
    return found


COMMANDS = dict(commands())
ERRORS = sorted(errors(), key=lambda kind: kind.slug)
EXTRA_HEADINGS = {"forge VERB", "Exit codes", "forge status --json", "forge explain --json"}


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_is_on_the_page_of_commands(path):
    text = sections("commands.md")[path]
    for parameter in COMMANDS[path].params:
        for name in parameter.opts if isinstance(parameter, click.Option) else ():
            assert f"`{name}`" in text, f"{path}: {name} is missing"
        if isinstance(parameter, click.Argument):
            assert parameter.human_readable_name in text


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_explains_itself_and_gives_an_example(path):
    command = COMMANDS[path]
    assert command.help
    assert "Examples:" in (command.epilog or "")
    assert path in (command.epilog or "")


def test_no_command_is_on_the_page_that_is_gone():
    assert set(sections("commands.md")) - set(COMMANDS) - EXTRA_HEADINGS == set()


def test_every_exit_code_is_explained():
    text = sections("commands.md")["Exit codes"]
    for kind in ERRORS:
        assert f"| {kind.exit_code} |" in text, kind


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_explained_in_its_own_words(setting):
    text = one_line(sections("config.md", level=3)[setting.key])
    default = str(setting.default).lower() if setting.default in (True, False) else setting.default
    assert one_line(setting.meaning) in text
    assert f"Takes: {setting.expects}. Default: `{default}`." in text


def test_no_setting_is_explained_that_is_gone():
    assert set(sections("config.md", level=3)) == {setting.key for setting in SETTINGS}


def test_every_variable_of_the_environment_is_explained():
    text = sections("config.md")["Environment"]
    for path in (TOP / "forge").rglob("*.py"):
        for name in re.findall(r"[\"'](FORGE_[A-Z_]+)[\"']", path.read_text(encoding="utf-8")):
            assert f"`{name}`" in text, f"{name}, which {path.relative_to(TOP)} reads"


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.slug)
def test_every_error_has_a_slug_of_its_own_and_a_heading(kind):
    assert [other for other in ERRORS if other.slug == kind.slug] == [kind]
    assert inspect.getdoc(kind)
    text = sections("messages.md")[kind.slug]
    assert re.search(rf"\bcode (is )?{kind.exit_code}\b", one_line(text)), "says the exit code"


def test_no_message_is_explained_that_is_gone():
    assert set(sections("messages.md")) == {kind.slug for kind in ERRORS}


def test_every_word_that_the_status_shows_is_in_the_glossary():
    entries = sections("glossary.md", level=3)
    for words in (BuildPhase, DiskPhase, DiskKind, Tenancy):
        for word in words:
            assert word.value in entries, f"{words.__name__} `{word}`"


def test_every_outcome_is_in_the_glossary():
    text = one_line(sections("glossary.md", level=3)["outcome"])
    assert all(f"*{word.value}*" in text for word in Outcome)


def test_the_glossary_is_in_alphabetical_order_and_no_entry_is_empty():
    entries = sections("glossary.md", level=3)
    assert all(text.strip() for text in entries.values())
    assert list(entries) == sorted(entries, key=str.casefold)


def test_every_decision_is_explained():
    text = sections("operations.md")["The decision log"]
    settings = {setting.key for setting in SETTINGS}
    kinds = "daemon|config|build|machine|disk|shim|cgroup|jobserver|reserve|target|peer"
    kinds += "|memory|link|unit|history|inference"
    pattern = rf"\"((?:{kinds})\.[a-z_]+)\""
    for layer in ("core", "daemon"):
        for path in (TOP / "forge" / layer).rglob("*.py"):
            for decision in set(re.findall(pattern, path.read_text(encoding="utf-8"))) - settings:
                assert f"`{decision}`" in text, f"{decision}, of {path.relative_to(TOP)}"


def test_every_file_that_the_architecture_names_is_there():
    for name in re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", page("architecture.md")):
        assert (TOP / name).exists() or (TOP / "forge" / name).exists(), name


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    dropped = string.punctuation.replace("-", "").replace("_", "")
    found: set[str] = set()
    fenced = False
    for line in path.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            text = line.lstrip("#").strip().lower()
            found.add("".join(c for c in text if c not in dropped).replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TOP)))
def test_every_link_leads_somewhere(path: Path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_page_is_linked_from_the_index_or_the_readme():
    links = page("index.md") + (TOP / "README.md").read_text(encoding="utf-8")
    for path in DOCS.glob("*.md"):
        if path.name != "index.md":
            assert re.search(rf"\((docs/)?{re.escape(path.name)}[)#]", links), path.name
