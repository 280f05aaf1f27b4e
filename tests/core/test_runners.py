import tomllib

import pytest

from forge.core import cargo_args, events, messages
from forge.core.runners import variable
from forge.core.workspace import CargoConfig, TargetRunner, Workspace
from tests.core.driver import Driver, settings
from tests.core.test_gates import SHIM

GATE = SHIM.test_gate
HOST = SHIM.host
HOST_VAR = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
WASM = "wasm32-wasip1"
BLANK = "/with blank/qemu"


def start(argv, *, env=None, shim=SHIM, parent=None, **config):
    """Return what a launcher is told."""
    driver = Driver(settings(gates=True))
    workspace = Workspace("/src/app", config=CargoConfig(**config), base="/src/app/m")
    driver.begin(1, *argv.split(), env=env or {}, workspace=workspace, parent=parent)
    driver.mount()
    driver.make_target_dirs()
    driver.post(events.ShimReady(shim) if shim else events.ShimMissing("no rustc"))
    return driver.reply(1, "go")


def options(go):
    """Return the runners that cargo is given as options, by target."""
    found = {}
    for option in cargo_args.parse(go["argv"]).configs:
        for triple, table in tomllib.loads(option).get("target", {}).items():
            found[triple] = table["runner"]
    return found


def runner(*words, **form):
    return TargetRunner(words, **form)


@pytest.mark.parametrize(
    ("argv", "is_gated"),
    [
        ("test", True),
        ("t -q -- --nocapture", True),
        ("+nightly test --doc", True),
        ("bench", True),  # it waits for quiet cores, and keeps them quiet
        ("run", False),  # a server would keep its cores for ever
        ("build", False),
        ("llvm-cov test", False),
        ("miri test", False),  # it has a runner of its own
        ("nextest run", False),  # by a variable
    ],
)
def test_what_runs_tests_gets_the_gate_as_an_option(argv, is_gated):
    go = start(argv)
    assert options(go) == ({HOST: [GATE, "0"]} if is_gated else {})
    assert HOST_VAR not in go["env"] or argv == "nextest run"


@pytest.mark.parametrize(
    ("config", "env", "expected"),
    [
        ({}, {}, [GATE, "0"]),
        ({HOST: runner("/w/qemu", "-L")}, {}, [GATE, "2", "/w/qemu", "-L"]),
        ({HOST: runner("/w/qemu", is_list=False)}, {}, f"{GATE} 1 /w/qemu"),  # in its own form
        ({HOST: runner(BLANK)}, {}, [GATE, "1", BLANK]),
        ({HOST: runner(BLANK, is_list=False)}, {}, None),  # a string would be split at its blank
        ({HOST: runner(is_list=False)}, {}, None),  # cargo is to refuse it
        ({HOST: runner("/w/\udcff")}, {}, None),  # not UTF-8: cargo takes no such option
        ({WASM: runner("wasmtime")}, {}, [GATE, "0"]),
        ({}, {HOST_VAR: "sudo  -E"}, [GATE, "2", "sudo", "-E"]),
        ({}, {HOST_VAR: "./r x"}, [GATE, "2", "/src/app/m/./r", "x"]),
        ({}, {HOST_VAR: " "}, None),  # cargo is to refuse it
        ({HOST: runner("file")}, {HOST_VAR: "var"}, [GATE, "1", "var"]),
        ({HOST: runner("file", is_list=False)}, {HOST_VAR: "var"}, f"{GATE} 1 var"),
        ({HOST: runner("option", by_option=True)}, {HOST_VAR: "var"}, [GATE, "1", "option"]),
        ({}, {HOST_VAR: f"{GATE} 0"}, [GATE, "0"]),  # an enclosing build's is not the user's
        ({}, {HOST_VAR: f"{GATE} 2 sudo -E"}, [GATE, "2", "sudo", "-E"]),
    ],
)
def test_the_users_runner_is_chained_behind_the_gate_or_left_alone(config, env, expected):
    go = start("test", env=env, runners=config)
    assert options(go) == ({} if expected is None else {HOST: expected})
    assert not {*env} & {*go["env"], *go["unset"]}, "the user's variable stays as it is"


@pytest.mark.parametrize(
    ("argv", "env", "targets", "also"),
    [
        (f"test --target {WASM}", {}, (), WASM),
        (f"test --target={WASM}", {}, (), WASM),
        ("test --target specs/armv7.json", {}, (), "armv7"),
        ("test", {"CARGO_BUILD_TARGET": WASM}, (), WASM),
        ("test", {}, (WASM,), WASM),
        ("test --target host-tuple", {}, (), None),
        (f"test -- --target {WASM}", {}, (), None),  # the harness's own
        ("test --target", {}, (), None),
        ("test --target x/", {}, (), None),
    ],
)
def test_each_target_that_is_named_gets_the_gate_and_so_does_the_host(argv, env, targets, also):
    go = start(argv, env=env, targets=targets)
    assert {*options(go)} == {HOST, *([also] if also else [])}


def test_each_target_keeps_its_own_runner():
    go = start(f"test --target {WASM}", runners={WASM: runner("wasmtime")})
    assert options(go) == {HOST: [GATE, "0"], WASM: [GATE, "1", "wasmtime"]}


def test_a_runner_that_may_be_hidden_is_not_replaced():
    assert options(start("test", hides_runner=True)) == {}
    assert HOST_VAR not in start("nextest run", hides_runner=True)["env"]


def test_without_a_shim_there_is_no_test_gate():
    assert options(start("test", shim=None)) == {}


def test_tests_inside_a_test_have_its_cores_and_get_no_gate():
    assert options(start("test", env={"FORGE_TEST": "b1"}, parent="b1")) == {}


@pytest.mark.parametrize(
    ("argv", "config", "env", "expected"),
    [
        ("nextest run", {}, {}, {HOST_VAR: f"{GATE} 0"}),
        ("nextest r --target x", {}, {}, {HOST_VAR: f"{GATE} 0", variable("x"): f"{GATE} 0"}),
        ("nextest list", {}, {}, {}),
        ("nextest run", {HOST: runner("/w/q", "-L")}, {}, {HOST_VAR: f"{GATE} 2 /w/q -L"}),
        ("nextest run", {HOST: runner(BLANK)}, {}, {}),  # a variable is split at its blank
        (
            "nextest run",
            {HOST: runner("file")},
            {HOST_VAR: "./r x"},
            {HOST_VAR: f"{GATE} 2 /src/app/m/./r x", f"FORGE_{HOST_VAR}": "./r x"},
        ),
        # Nextest is not told of cargo's own options: a file behind this one may have the runner.
        ("nextest run", {HOST: runner("option", by_option=True)}, {}, {}),
    ],
)
def test_nextest_gets_the_gate_by_a_variable_and_the_users_is_kept_beside_it(
    argv, config, env, expected
):
    go = start(argv, env=env, runners=config)
    assert {name: value for name, value in go["env"].items() if "_RUNNER" in name} == expected
    assert options(go) == {}


def test_a_test_that_runs_alone_is_not_taken_for_the_whole_binary():
    """Nextest starts each test by itself: it is to have one core, not those of the binary."""
    driver = Driver(settings(gates=True, cores=8))
    driver.post(events.ShimReady(SHIM))
    build = driver.run(1, "test")

    def cores_of(conn, threads, cpu_s):
        test = messages.Test(build=build, pid=5, binary="/t/it-1f", name="it", threads=threads)
        driver.receive(conn, test)
        cores = driver.state.gates.behind[conn].cores
        ended = messages.TestEnded(
            exit=0, signal=None, wall_s=1.0, user_s=cpu_s, system_s=0.0, peak_kib=1
        )
        driver.now_s += 1.0
        driver.receive(conn, ended)
        return cores

    def learn():
        driver.receive(1, messages.Ended(exit=0, signal=None))

    assert cores_of(11, None, cpu_s=6.0) == 4, "half of all, before anything is known"
    assert cores_of(12, 1, cpu_s=1.0) == 1
    learn()
    build = driver.run(2, "test")
    assert cores_of(13, None, cpu_s=6.0) == 6
    assert cores_of(14, 1, cpu_s=1.0) == 1
