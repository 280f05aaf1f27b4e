"""Build a real llama-server once, from the Python source package that contains llama.cpp's.

    python -m tests.llama.build              builds it, unless it is there: some 12 minutes
    python -m tests.llama.build --configure  only fetches it and looks whether it could be built

It is kept outside the tree by version. Whoever comes while another builds it waits for that one.
Nothing but the standard library is needed, so that it can be started before there is a .venv.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VERSION = "0.3.36"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opta-forge-tests"
BINARY = CACHE / f"llama-server-{VERSION}"
TOOLS = ("cmake", "ninja", "c++", "tar")
FETCH_S, CONFIGURE_S, BUILD_S = 600.0, 600.0, 3600.0
GRACE_S = 10.0
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG",  # how fast it compiles matters, not how fast it is
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # it would be fetched
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_NUMBER": "0",
    "LLAMA_BUILD_COMMIT": "tests",
}


class Unavailable(Exception):
    """It cannot be built here; says why."""


def server_binary() -> Path:
    """Return the server, built if need be. Raises Unavailable."""
    if not BINARY.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with _alone(), tempfile.TemporaryDirectory(prefix="building-", dir=CACHE) as scratch:
            if not BINARY.exists():  # nobody has built it while we waited
                _build(Path(scratch))
    return BINARY


def configure(scratch: Path) -> Path:
    """Fetch the source and configure it; return the directory to build in. Raises Unavailable."""
    if lacking := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise Unavailable(f"there is no {', '.join(lacking)} to build a llama-server with")
    python = scratch / "venv" / "bin" / "python"
    _run([sys.executable, "-m", "venv", str(scratch / "venv")], FETCH_S)
    wanted = f"llama-cpp-python=={VERSION}"
    fetch = [str(python), "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    _run([*fetch, "--no-deps", "--no-binary", ":all:", "--dest", str(scratch), wanted], FETCH_S)
    (package,) = scratch.glob("llama_cpp_python-*.tar.gz")
    _run(["tar", "-xzf", str(package), "-C", str(scratch)], FETCH_S)
    (source,) = scratch.glob("llama_cpp_python-*/vendor/llama.cpp")
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    _run(
        ["cmake", "-S", str(source), "-B", str(scratch / "b"), "-G", "Ninja", *options], CONFIGURE_S
    )
    return scratch / "b"


def _build(scratch: Path) -> None:
    place = configure(scratch)
    jobs = str(os.cpu_count() or 1)
    command = ["cmake", "--build", str(place), "--target", "llama-server", "-j", jobs]
    _run(["nice", "-n", "19", *command], BUILD_S)
    shutil.copy2(place / "bin" / "llama-server", scratch / "done")
    os.replace(scratch / "done", BINARY)


def _run(argv: Sequence[str], deadline_s: float) -> None:
    """Run a command; when we are ended, so is all that it has started."""
    try:
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise Unavailable(f"{argv[0]}: {error}") from None
    try:
        said, _ = process.communicate(timeout=deadline_s)
    except BaseException as error:
        _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise Unavailable(f"{argv[0]} took longer than {deadline_s:.0f} s") from None
        raise
    if process.returncode:
        command = " ".join(argv[:4])
        raise Unavailable(f"a llama-server cannot be built: `{command} …`: {said.strip()[-500:]}")


def _end(process: "subprocess.Popen[str]") -> None:
    """End a command and what it has started: ninja's compilers are in groups of their own."""
    os.killpg(process.pid, signal.SIGTERM)  # which ninja passes on
    try:
        process.communicate(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other builders out; a lock ends with its process."""
    with open(f"{BINARY}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Build it, or see whether it could be."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        if sys.argv[1:] == ["--configure"]:
            with tempfile.TemporaryDirectory() as scratch:
                configure(Path(scratch))
                print("it can be built")
        else:
            print(server_binary())
    except Unavailable as why_not:
        print(why_not, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
