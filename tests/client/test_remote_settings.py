"""Which machine a command line is for."""

from pathlib import Path

import pytest

from forge.client.remote_settings import host_of, rules
from forge.client.remote_ssh import ssh_command
from forge.errors import UsageMistake

OPTION, HERE, NONE = {"FORGE_ON": "a"}, {"FORGE_ON": "here"}, dict[str, str]()


@pytest.mark.parametrize(
    ("words", "given", "env", "host"),
    [
        ("build", NONE, NONE, None),
        ("build", OPTION, NONE, "a"),
        ("build", OPTION, {"FORGE_ON": "b"}, "a"),
        ("build", NONE, {"FORGE_ON": "b"}, "b"),
        ("build", NONE, {"FORGE_ON": ""}, None),
        ("build", HERE, {"FORGE_ON": "b"}, None),
        ("build", NONE, {"FORGE_ON": "b", "FORGE_BUILD": "b1"}, None),  # inside a build
        ("build", OPTION, {"FORGE_BUILD": "b1"}, "a"),  # a build script that means it
        ("fmt", NONE, {"FORGE_ON": "b"}, None),  # about our own files
        ("--version", OPTION, NONE, None),
        ("metadata", NONE, {"FORGE_ON": "b"}, None),
        ("install x", NONE, {"FORGE_ON": "b"}, None),
        ("clean", NONE, {"FORGE_ON": "b"}, "b"),
    ],
)
def test_the_nearest_word_counts(words, given, env, host, tmp_path: Path):
    env = {"FORGE_CONFIG": str(tmp_path / "none"), **env}
    assert host_of(words.split(), given, env) == host


def test_forge_toml_names_hosts_for_directories(tmp_path: Path, monkeypatch):
    file = tmp_path / "forge.toml"
    (tmp_path / "a" / "b").mkdir(parents=True)
    file.write_text(
        f'[remote]\non = "all"\nexclude = ["*.mp4"]\n[remote.projects]\n"{tmp_path}/a" = "one"\n'
        f'"{tmp_path}/a/b" = "here"\n'
    )
    env = {"FORGE_CONFIG": str(file)}
    for directory, host in ((tmp_path, "all"), (tmp_path / "a", "one"), (tmp_path / "a/b", None)):
        monkeypatch.chdir(directory)
        assert host_of(["build"], {}, env) == host
    assert host_of(["-C", "..", "build"], {}, env) == "one"
    assert rules(env).exclude == ("*.mp4",)


def test_ssh_gets_a_host_and_never_an_option():
    command = ssh_command("me@studio", has_terminal=False)
    assert command[command.index("--") :] == ["--", "me@studio", "forge", "serve"]
    assert "BatchMode=yes" in command
    assert "BatchMode=yes" not in ssh_command("studio", has_terminal=True)
    with pytest.raises(UsageMistake, match="is no host"):
        ssh_command("-oProxyCommand=x", has_terminal=True)
