"""How the Python launcher hands a build over to the native one, of whichever version that is."""

import os
import subprocess
from pathlib import Path

from forge import paths
from tests.scenarios.conftest import FORGE


def test_a_native_launcher_is_given_no_word_that_nobody_typed(tmp_path: Path):
    """After an update it is an older one for a while: what that does not know goes to cargo."""
    env = {**os.environ, "FORGE_CACHE_DIR": str(tmp_path / "cache"),
           "FORGE_STATE_DIR": str(tmp_path / "state"), "FORGE_CONFIG": str(tmp_path / "none.toml"),
           "FORGE_ON": ""}  # fmt: skip
    for name in ("FORGE_NATIVE", "FORGE_DISABLE", "FORGE_BUILD"):
        env.pop(name, None)
    native = Path(paths.native_launcher(env))
    native.parent.mkdir(parents=True)
    native.write_text('#!/bin/sh\necho "$* on $FORGE_ON"\n')
    native.chmod(0o755)
    command = [*FORGE, "build", "--release"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("build --release on here\n", 0), done.stderr
