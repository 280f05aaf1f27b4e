import pytest

from forge.core.llama_command import Launch
from forge.core.memory_map import propose
from forge.errors import ModelUnreadable
from forge.host.inference_files import found_rows, plan_command_line
from tests.llama.models import DRAFT, TINY, write_model

MIB = 1 << 20


@pytest.fixture
def models(tmp_path):
    write_model(tmp_path / "tiny.gguf", TINY)
    write_model(tmp_path / "draft.gguf", DRAFT)
    (tmp_path / "projector.gguf").write_bytes(bytes(1000))
    return tmp_path


def test_relative_paths_are_those_of_the_server(models):
    argv = [
        "llama-server",
        "-m",
        "tiny.gguf",
        "-md",
        "draft.gguf",
        "--mmproj",
        "projector.gguf",
        "-c",
        "4096",
    ]
    need = plan_command_line(argv, {"LLAMA_ARG_CACHE_RAM": "0"}, str(models)).need
    assert need.weights_bytes == (models / "tiny.gguf").stat().st_size + 1000
    assert need.draft_weights_bytes == (models / "draft.gguf").stat().st_size
    assert (need.kv_bytes, need.draft_kv_bytes) == (4 * MIB, 2 * MIB)
    assert need.prompt_cache_bytes == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-c 4096", "it has no `-m`"),
        ("-hf someone/model", "it fetches `someone/model` itself"),
        ("-m gone.gguf", r"gone.gguf: cannot be read: No such file"),
        ("-m tiny.gguf -md gone.gguf", r"gone.gguf: cannot be read"),
        ("-m tiny.gguf --mmproj gone.gguf", r"gone.gguf: cannot be read"),
        ("-m tiny.gguf -ctk q9_9", "no type `q9_9`"),
    ],
)
def test_what_cannot_be_known_is_said(models, line, says):
    with pytest.raises(ModelUnreadable, match=says):
        plan_command_line(line.split(), {}, str(models))


def test_the_rows_of_the_configured_server_are_found(models):
    found = found_rows(
        Launch("llama-server", str(models / "tiny.gguf"), str(models / "draft.gguf"),
               cache_ram_mib=100)
    )  # fmt: skip
    assert found.warning == ""
    assert (found.mib["model"], found.mib["draft_model"]) == (5, 3)
    assert found.mib["agent_context"] >= 36 + 18 + 100
    assert found.warning_beside(propose(64 * 1024, found_mib=found.mib)) == ""
    small = found.warning_beside(propose(64 * 1024, {"model": 4}))
    assert small == "the row `AI engine` has 4 MiB, and the configured server takes 5 MiB"
    assert "no room" in found.warning_beside(propose(64 * 1024))


def test_no_model_and_a_bad_one_have_no_rows_and_stop_nothing(models):
    assert found_rows(None).mib == {}
    found = found_rows(Launch("llama-server", str(models / "gone.gguf")))
    assert found.mib == {}
    assert "gone.gguf" in found.warning
    assert found.warning_beside(propose(64 * 1024)) == found.warning
