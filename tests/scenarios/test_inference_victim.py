"""When memory ends beside a real llama-server whose model is locked: who is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forge.core.build_cgroup import BUILD_OOM_SCORE_ADJ
from tests.llama.models import Model, write_model
from tests.llama.server import llama_server
from tests.scenarios.tight_cgroup import tight_cgroup

pytestmark = [
    pytest.mark.privileged,
    pytest.mark.skipif(sys.platform != "linux", reason="cgroups are of Linux"),
    pytest.mark.real_llama,
    pytest.mark.usefixtures("llama_binary"),
]

MIB = 1 << 20
MODEL_MIB, LIMIT_MIB = 160, 320
HOG = f"""
import sys
from forge.client import build_place
build_place.enter({{"cgroup": sys.argv[1], "oom_score_adj": int(sys.argv[2])}})
held = []
for _ in range({LIMIT_MIB}):
    held.append(b"x" * {MIB})
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gguf")
    return write_model(place / "locked.gguf", Model().of_size(MODEL_MIB * MIB))


@pytest.mark.parametrize(("offered", "victim"), [
    (0, "server"),  # it is the largest: what Forge is to prevent
    (BUILD_OOM_SCORE_ADJ, "build"),
])  # fmt: skip
def test_what_a_build_takes_too_much_ends_the_build_and_not_the_locked_model(
    model: Path, offered: int, victim: str
) -> None:
    args = ("-t", "1", "-np", "1", "-c", "512", "--load-mode", "mmap+mlock")
    with (
        tight_cgroup(LIMIT_MIB * MIB) as cgroup,
        llama_server(model, *args, cgroup=cgroup) as server,
    ):
        assert server.process
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        locked_kib = int(status.partition("VmLck:")[2].split()[0])
        if locked_kib < MODEL_MIB * 1000:
            pytest.skip(f"the model cannot be locked here: {locked_kib} KiB are")
        hog = subprocess.Popen(
            [sys.executable, "-c", HOG, f"{cgroup}/cgroup.procs", str(offered)],
            stderr=subprocess.DEVNULL,
        )
        hog.wait(60)
        is_alive = server.process.poll() is None
        if victim == "build":
            assert hog.returncode == -signal.SIGKILL and is_alive
            assert len(server.complete(2)["content"]) >= 0, "it goes on as if nothing were"
        else:
            assert not is_alive
