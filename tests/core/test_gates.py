from typing import Any

import pytest

from forge.core import actions, events, messages
from forge.core.cargo_args import parse
from forge.core.jobs import take_jobs
from forge.core.launches import SHIM_PATIENCE_S
from forge.core.shim import Shim
from forge.core.shim_life import RETRY_S
from forge.core.workspace import CargoConfig, Workspace
from tests.core.driver import Driver, settings

SHIM = Shim(
    "k1", "/cache/gates/gate/rustc-gate", "/cache/gates/linkers",
    "/cache/gates/gate/test-gate", "x86_64-unknown-linux-gnu",
)  # fmt: skip
BY_OPTION = f'build.rustc-wrapper="{SHIM.rustc_gate}"'
ENDED: dict[str, Any] = {"exit": 0, "wall_s": 2.0, "user_s": 1.0, "system_s": 0.5, "peak_kib": 4096}


@pytest.fixture
def driver():
    return Driver(settings(gates=True, socket_path="/state/forged.sock", cores=8))


def begin(driver, conn, *argv, **fields):
    driver.begin(conn, *argv, **fields)
    if driver.state.disk.is_changing:
        driver.mount()
    driver.make_target_dirs()


def is_gated(go):
    return BY_OPTION in go["argv"] or go["env"].get("RUSTC_WRAPPER") == SHIM.rustc_gate


def test_the_first_build_waits_for_the_shim_and_says_so(driver):
    begin(driver, 1, "build", env={"PATH": "/home/u/.cargo/bin"})
    assert driver.asked(actions.EnsureShim) == [actions.EnsureShim("/home/u/.cargo/bin")]
    assert driver.reply(1, "wait")["reason"] == "the shim is being compiled, once"
    driver.post(events.ShimReady(SHIM))
    assert BY_OPTION in driver.reply(1, "go")["argv"]
    env = driver.reply(1, "go")["env"]
    assert "RUSTC_WRAPPER" not in env, "what `cargo run` starts must not inherit it"
    assert env["FORGE_LINKER_DIR"] == SHIM.linker_dir
    assert env["FORGE_SOCKET"] == "/state/forged.sock"


def test_without_a_shim_builds_run_without_gates_and_it_is_said_once(driver):
    begin(driver, 1)
    driver.post(events.ShimMissing("there is no rustc"))
    begin(driver, 2, root="/src/other")
    assert driver.reply(1, "go")["notes"] == ["builds run without gates: there is no rustc"]
    assert driver.reply(2, "go")["notes"] == []
    assert not is_gated(driver.reply(1, "go"))
    assert len(driver.asked(actions.EnsureShim)) == 1
    driver.now_s += RETRY_S
    begin(driver, 3, root="/src/third")
    assert len(driver.asked(actions.EnsureShim)) == 2


def test_a_shim_that_takes_too_long_holds_up_no_build(driver):
    begin(driver, 1)
    driver.now_s += SHIM_PATIENCE_S
    driver.post(events.Tick())
    assert not is_gated(driver.reply(1, "go"))


def test_a_shim_that_was_ready_stays_in_use_when_a_later_look_fails(driver):
    begin(driver, 1)
    driver.post(events.ShimReady(SHIM))
    driver.post(events.ShimMissing("the disk is full"))
    begin(driver, 2, root="/src/other")
    assert is_gated(driver.reply(2, "go"))


@pytest.mark.parametrize("argv", [["metadata"], ["clean"], ["miri", "test"]])
def test_what_compiles_nothing_or_may_not_be_wrapped_gets_no_gates(driver, argv):
    driver.post(events.ShimReady(SHIM))
    begin(driver, 1, *argv)
    assert not is_gated(driver.reply(1, "go"))


@pytest.mark.parametrize(
    ("env", "config", "chained", "by_option"),
    [
        ({}, None, None, True),
        ({}, "/w/bin/kache", "/w/bin/kache", True),
        ({"RUSTC_WRAPPER": "sccache"}, "kache", "sccache", False),
        ({"RUSTC_WRAPPER": "./w.sh"}, None, "/src/app/m/./w.sh", False),
        ({"RUSTC_WRAPPER": ""}, "kache", None, False),  # an empty one switches the other off
        ({"CARGO_BUILD_RUSTC_WRAPPER": "sccache"}, None, "sccache", False),
        ({"RUSTC_WRAPPER": SHIM.rustc_gate}, None, None, False),
        ({"RUSTC_WRAPPER": SHIM.rustc_gate}, "kache", "kache", False),
        ({"RUSTC_WRAPPER": SHIM.rustc_gate, "FORGE_RUSTC_WRAPPER": "sc"}, None, "sc", False),
    ],
)
def test_the_users_own_wrapper_is_chained_behind_the_gate(driver, env, config, chained, by_option):
    driver.post(events.ShimReady(SHIM))
    workspace = Workspace("/src/app", config=CargoConfig(rustc_wrapper=config), base="/src/app/m")
    begin(driver, 1, env=env, workspace=workspace)
    go = driver.reply(1, "go")
    assert go["env"].get("FORGE_RUSTC_WRAPPER") == chained
    assert (BY_OPTION in go["argv"]) is by_option
    assert is_gated(go)


def test_an_external_subcommand_gets_its_gates_by_a_variable(driver):
    driver.post(events.ShimReady(SHIM))
    begin(driver, 1, "nextest", "run")
    assert driver.reply(1, "go")["env"]["RUSTC_WRAPPER"] == SHIM.rustc_gate


def test_a_build_inside_a_build_loses_its_j_to_the_outer_jobserver_without_a_warning(driver):
    driver.post(events.ShimReady(SHIM))
    ours = {"CARGO_MAKEFLAGS": "-j --jobserver-fds=5,6 --jobserver-auth=5,6"}
    begin(driver, 1, "build", "-j2", env=ours, parent="b7")
    go = driver.reply(1, "go")
    assert "-j2" not in go["argv"]
    assert go["jobserver"] is None


@pytest.mark.parametrize(
    ("argv", "rest", "cap"),
    [
        ("build -j 3", "build", 3),
        ("build -j3 --release", "build --release", 3),
        ("build --jobs=2", "build", 2),
        ("build --jobs 2 -p x", "build -p x", 2),
        ("build -j -1", "build", 7),
        ("build -j default", "build", 8),
        ("build -j 2 -j 4", "build", 4),
        ("+nightly -v test -j1 -- -j9", "+nightly -v test -- -j9", 1),
        ("build", "build", None),
        ("build -j 0", "build -j 0", None),  # cargo refuses it, in its own words
        ("build -j x", "build -j x", None),
        ("build -j", "build -j", None),
        ("build -rj4", "build -r", 4),
        ("build -vj 4 -p x", "build -v -p x", 4),
        ("run prog -j4", "run prog -j4", None),  # the program's
        ("run -j2 -p x prog -j4", "run -p x prog -j4", 2),
        ("run --bin -j4", "run --bin -j4", None),  # cargo takes it for the name
        ("xtask dist -j8", "xtask dist -j8", None),
        ("nextest run -j 4", "nextest run -j 4", None),  # counts tests, not jobs
        ("clippy -j 4", "clippy", 4),
        ("install -j2 ripgrep", "install ripgrep", 2),
    ],
)
def test_the_users_j_is_taken_out_and_becomes_the_cap(argv, rest, cap):
    args = parse(argv.split())
    assert take_jobs(args, 8) == (tuple(rest.split()), cap)


@pytest.mark.parametrize(
    ("argv", "env", "jobs", "tokens"),
    [
        (["build"], {}, None, 7),
        (["build", "-j", "3"], {"CARGO_BUILD_JOBS": "5"}, 6, 2),
        (["build"], {"CARGO_BUILD_JOBS": "5"}, 6, 4),
        (["build"], {}, 6, 5),
        (["build", "-j1"], {}, None, 0),
        (["build", "-j64"], {}, None, 7),  # never more than the machine has
    ],
)
def test_each_build_has_a_jobserver_with_as_many_tokens_as_it_may_use(
    driver, argv, env, jobs, tokens
):
    driver.post(events.ShimReady(SHIM))
    workspace = Workspace("/src/app", config=CargoConfig(jobs=jobs))
    begin(driver, 1, *argv, env=env, workspace=workspace)
    path = "/state/jobs/b1.jobs"
    assert driver.asked(actions.MakeJobserver) == [actions.MakeJobserver("b1", path, tokens)]
    go = driver.reply(1, "go")
    assert go["jobserver"] == {"path": path, "tokens": tokens}
    assert not any(word.startswith("-j") for word in go["argv"])
    driver.receive(1, messages.Started(pid=101))
    driver.receive(1, messages.Ended(exit=0))
    assert driver.asked(actions.RemoveJobserver) == [actions.RemoveJobserver("b1")]


def test_the_number_of_jobs_still_reaches_build_scripts(driver):
    driver.post(events.ShimReady(SHIM))
    begin(driver, 1, "build", "-j3")
    assert driver.reply(1, "go")["env"]["CARGO_BUILD_JOBS"] == "3"


@pytest.mark.parametrize(
    ("env", "ours"),
    [
        ({"MAKEFLAGS": " -j4 --jobserver-auth=3,4"}, False),
        ({"CARGO_MAKEFLAGS": "-j --jobserver-fds=5,6 --jobserver-auth=5,6"}, False),
        ({"MAKEFLAGS": "-k"}, True),
        (
            {"CARGO_MAKEFLAGS": "", "MAKEFLAGS": "--jobserver-auth=3,4"},
            True,
        ),  # only the first counts
    ],
)
def test_a_jobserver_that_is_there_already_is_left_in_charge(driver, env, ours):
    driver.post(events.ShimReady(SHIM))
    begin(driver, 1, "build", "-j2", env=env)
    go = driver.reply(1, "go")
    assert (go["jobserver"] is not None) is ours
    assert ("-j2" in go["argv"]) is not ours


def running(driver):
    driver.post(events.ShimReady(SHIM))
    return driver.run(1)


def test_units_and_links_start_at_once_and_are_counted(driver):
    build_id = running(driver)
    driver.receive(2, messages.Unit(build=build_id, pid=5, crate="serde", kinds=["lib"]))
    driver.receive(3, messages.Link(build=build_id, pid=6, output="/t/app"))
    assert driver.reply(2, "go")
    assert driver.reply(3, "go")
    driver.receive(9, messages.Status())
    (build,) = driver.reply(9, "status")["status"]["builds"]
    assert build["gates"]["units_running"] == ["serde"]
    assert build["gates"]["links_running"] == ["/t/app"]
    driver.receive(2, messages.UnitEnded(**ENDED))
    driver.receive(3, messages.LinkEnded(**{**ENDED, "peak_kib": 8192}))
    driver.receive(9, messages.Status())
    gates = driver.reply(9, "status")["status"]["builds"][0]["gates"]
    assert (gates["units"], gates["links"]) == (1, 1)
    assert gates["cpu_s"] == 1.5, (
        "its rustc waited for the linker, so that its time is counted there"
    )
    assert (gates["unit_peak_kib"], gates["link_peak_kib"]) == (4096, 8192)


def ask(driver, conn, build_id, crate="serde"):
    driver.receive(conn, messages.Unit(build=build_id, pid=5, crate=crate, kinds=["lib"]))


def runs(driver, conn):
    return any(to == conn and message["type"] == "go" for to, message in driver.sent)


def test_units_of_all_builds_together_never_outnumber_the_cores():
    driver = Driver(settings(gates=True, cores=2))
    driver.post(events.ShimReady(SHIM))
    one, two = driver.run(1), driver.run(2, root="/src/other")
    for conn, build_id in ((11, one), (12, one), (21, two), (22, two)):
        ask(driver, conn, build_id)
    assert [conn for conn in (11, 12, 21, 22) if runs(driver, conn)] == [11, 12]
    assert "waiting for a core: 2 of 2 cores busy" in driver.reply(21, "wait")["reason"]
    driver.receive(11, messages.UnitEnded(**ENDED))
    driver.now_s += 0.1  # the core is kept for the first in turn for a moment
    driver.post(events.Tick())
    assert runs(driver, 21)
    assert not runs(driver, 22)
    driver.post(events.Closed(12))  # killed: its core goes to the next as well
    driver.now_s += 0.1
    driver.post(events.Tick())
    assert runs(driver, 22)


def test_a_unit_that_waits_hears_from_the_daemon_each_second_and_shows_in_the_status():
    driver = Driver(settings(gates=True, cores=1))
    driver.post(events.ShimReady(SHIM))
    build_id = driver.run(1)
    ask(driver, 11, build_id)
    ask(driver, 12, build_id, "syn")
    for _ in range(3):
        driver.now_s += 1
        driver.post(events.Tick())
    waits = [m for to, m in driver.sent if to == 12 and m["type"] == "wait"]
    assert [wait["since_s"] for wait in waits] == [0.0, 1.0, 2.0, 3.0]
    driver.receive(9, messages.Status())
    (build,) = driver.reply(9, "status")["status"]["builds"]
    assert build["gates"]["units_waiting"] == ["syn"]


def at_gates(driver):
    driver.receive(9, messages.Status())
    (build,) = driver.reply(9, "status")["status"]["builds"]
    return build["at_gates"]


def test_the_status_tells_what_runs_and_waits_at_the_gates_and_how_long():
    driver = Driver(settings(gates=True, cores=1))
    driver.post(events.ShimReady(SHIM))
    build_id = driver.run(1)
    driver.receive(
        11, messages.Unit(build=build_id, pid=5, crate="serde", kinds=["lib"], id="serde-1f3a")
    )
    driver.now_s += 2
    ask(driver, 12, build_id, "syn")
    driver.receive(13, messages.Link(build=build_id, pid=6, output="/t/app"))
    driver.now_s += 1
    report = at_gates(driver)
    assert (report["running"], report["waiting"]) == (2, 1)
    told = [(one["name"], one["kind"], one["running"], one["since_s"]) for one in report["shown"]]
    assert told == [
        ("serde", "unit", True, 3.0), ("/t/app", "link", True, 1.0), ("syn", "unit", False, 1.0),
    ]  # fmt: skip
    assert [one["id"] for one in report["shown"]] == ["serde-1f3a", None, None]
    assert [one["cores"] for one in report["shown"]] == [1, 0, 1]


def test_the_status_counts_what_it_does_not_tell_one_by_one():
    driver = Driver(settings(gates=True, cores=4))
    driver.post(events.ShimReady(SHIM))
    build_id = driver.run(1)
    for conn in range(11, 71):
        ask(driver, conn, build_id, f"crate{conn}")
    report = at_gates(driver)
    runs = report["running"]
    assert runs and report["waiting"] == 60 - runs
    assert len(report["shown"]) == 50
    assert [one["running"] for one in report["shown"]] == [True] * runs + [False] * (50 - runs)


def test_a_linker_needs_no_core_since_its_rustc_has_one():
    driver = Driver(settings(gates=True, cores=1))
    driver.post(events.ShimReady(SHIM))
    build_id = driver.run(1)
    ask(driver, 11, build_id)
    driver.receive(12, messages.Link(build=build_id, pid=6, output="/t/app"))
    assert runs(driver, 12)


@pytest.mark.parametrize(
    ("env", "interactive", "priority"),
    [
        ({}, True, "interactive"),
        ({}, False, "batch"),
        ({"CI": "true"}, True, "batch"),
        ({"VSCODE_PID": "7"}, False, "interactive"),
        ({"FORGE_PRIORITY": "batch"}, True, "batch"),
        ({"FORGE_PRIORITY": "interactive", "CI": "1"}, False, "interactive"),
        ({"FORGE_PRIORITY": "urgent"}, False, "batch"),
    ],
)
def test_how_a_build_was_started_says_who_goes_first(driver, env, interactive, priority):
    driver.post(events.ShimReady(SHIM))
    begin(driver, 1, env=env, interactive=interactive)
    driver.receive(9, messages.Status())
    assert driver.reply(9, "status")["status"]["builds"][0]["priority"] == priority


def test_an_interactive_unit_overtakes_batch_units_that_came_before():
    driver = Driver(settings(gates=True, cores=1))
    driver.post(events.ShimReady(SHIM))
    batch = driver.run(1)
    person = driver.run(2, root="/src/other", interactive=True)
    for conn, build_id in ((11, batch), (12, batch), (21, person)):
        ask(driver, conn, build_id)
    driver.receive(11, messages.UnitEnded(**ENDED))
    assert runs(driver, 21)
    assert not runs(driver, 12)


def test_more_cores_in_the_configuration_let_more_units_start():
    driver = Driver(settings(gates=True, cores=1))
    driver.post(events.ShimReady(SHIM))
    build_id = driver.run(1, "build", "-j4")
    driver.post(events.SettingsLoaded(settings(gates=True, cores=1)))
    other = driver.run(2, root="/src/other")
    ask(driver, 11, build_id)
    ask(driver, 21, other)
    assert not runs(driver, 21)
    driver.post(events.SettingsLoaded(settings(gates=True, cores=3)))
    assert runs(driver, 21)


def test_what_a_killed_gate_held_is_taken_back(driver):
    build_id = running(driver)
    driver.receive(2, messages.Unit(build=build_id, pid=5, crate="serde", kinds=["lib"]))
    driver.post(events.Closed(2))
    assert not driver.state.gates.behind
    assert driver.state.gates.recorders[build_id].tally.lost == 1


def test_a_unit_of_a_build_that_nobody_knows_yet_starts_all_the_same(driver):
    driver.receive(2, messages.Unit(build="b77", pid=5, crate="serde", kinds=["lib"]))
    assert driver.reply(2, "go")
    driver.receive(2, messages.UnitEnded(**ENDED))
    assert not driver.state.gates.behind


def test_a_gate_that_ends_what_it_never_began_is_told(driver):
    driver.receive(2, messages.UnitEnded(**ENDED))
    assert driver.reply(2, "error")["slug"] == "protocol-mismatch"


@pytest.mark.parametrize(
    ("path", "opened"),
    [("/state/jobs/b41.jobs", True), ("/etc/passwd", False), ("/state/jobs/../b1.jobs", False)],
)
def test_an_adopted_build_keeps_its_jobserver_if_it_is_one_of_ours(driver, path, opened):
    adopt = messages.Adopt(
        pid=100, build="b41", cargo_pid=101, cwd="/", argv=["build"], jobserver=path
    )
    driver.receive(1, adopt)
    asked = driver.asked(actions.AdoptJobserver)
    assert asked == ([actions.AdoptJobserver("b41", path)] if opened else [])


def test_a_build_whose_jobserver_cannot_be_made_starts_without_one(driver):
    driver.answers_jobservers = False
    driver.post(events.ShimReady(SHIM))
    begin(driver, 1)
    assert not [m for _, m in driver.sent if m["type"] == "go"], "not before it is there"
    driver.post(events.JobserverMade("b1", None))
    go = driver.reply(1, "go")
    assert go["jobserver"] is None
    assert go["target_dir"]


def test_a_jobserver_that_comes_after_its_build_is_gone_is_removed(driver):
    driver.answers_jobservers = False
    driver.post(events.ShimReady(SHIM))
    begin(driver, 1)
    driver.post(events.Closed(1))
    driver.post(events.JobserverMade("b1", "/state/jobs/b1.jobs"))
    assert driver.asked(actions.RemoveJobserver) == [actions.RemoveJobserver("b1")]


def test_after_one_build_has_lost_patience_with_the_shim_others_do_not_wait(driver):
    begin(driver, 1)
    driver.now_s += SHIM_PATIENCE_S
    driver.post(events.Tick())
    assert "the shim was not there within 30 s" in driver.reply(1, "go")["notes"][0]
    begin(driver, 2, root="/src/other")
    assert not is_gated(driver.reply(2, "go"))
    driver.post(events.ShimReady(SHIM))
    begin(driver, 3, root="/src/third")
    assert is_gated(driver.reply(3, "go"))


def test_a_registry_token_on_the_command_line_is_neither_logged_nor_shown(driver):
    driver.post(events.ShimReady(SHIM))
    begin(driver, 1, "publish", "--token", "s3cret", "--token=s3cret")
    driver.receive(9, messages.Status())
    shown = [driver.reply(9, "status"), *driver.asked(actions.Log)]
    assert "s3cret" not in repr(shown)
    assert "s3cret" in driver.reply(1, "go")["argv"]
