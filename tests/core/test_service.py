"""Declarations of services, and their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.service import Misread, Ready, Runs, Service, read_service
from forge.core.service_order import check_order, in_order, in_reverse

LEAST = {"runs": "process", "command": ["sleep", "1"]}


def a_service(name: str, *after: str) -> Service:
    return Service(name, name, Runs.PROCESS, name, ("true",), after=after)


def by_name(*services: Service) -> dict[str, Service]:
    return {service.name: service for service in services}


@pytest.mark.parametrize(("table", "key"), [
    ({"command": ["x"]}, "runs"),
    ({"runs": "docker", "command": ["x"]}, "runs"),
    ({"runs": "screen"}, "command"),
    ({**LEAST, "command": "sleep 1"}, "command"),  # a shell's line: there is no shell
    ({**LEAST, "command": []}, "command"),
    ({**LEAST, "command": ["a\0b"]}, "command"),
    ({**LEAST, "port": 0}, "port"),
    ({**LEAST, "port": 65536}, "port"),
    ({**LEAST, "port": True}, "port"),
    ({**LEAST, "after": ["../x"]}, "after"),
    ({**LEAST, "env": {"A=B": "c"}}, "env"),
    ({**LEAST, "env": {"A": 1}}, "env"),
    ({**LEAST, "ready_url": "ftp://x"}, "ready_url"),
    ({**LEAST, "ready_status": 200}, "ready_url"),  # of which answer?
    ({**LEAST, "ready_within": 5}, "ready_within"),
    ({**LEAST, "ready_within": "soon"}, "ready_within"),
    ({**LEAST, "memory": ["modell"]}, "memory"),
    ({**LEAST, "memory": "78GB"}, "memory"),
    ({**LEAST, "title": "a\nb"}, "title"),
    ({**LEAST, "unit": "a b"}, "unit"),
    ({**LEAST, "restart": "yes"}, "restart"),
    ({**LEAST, "comand": ["x"]}, "comand"),
])  # fmt: skip
def test_a_declaration_that_cannot_be_is_refused_with_its_key(table, key):
    with pytest.raises(Misread) as refused:
        read_service("x", table)
    assert refused.value.key == key
    assert refused.value.expects


@pytest.mark.parametrize("name", ["", "a/b", "-x", ".", "a b", "x" * 64])
def test_a_name_becomes_a_file_and_a_session_so_it_is_plain(name):
    with pytest.raises(Misread):
        read_service(name, LEAST)


def test_a_declaration_is_read_with_its_units():
    table = {
        "runs": "screen", "command": ["llama-server"], "port": 8080, "ready_within": "20m",
        "ready_url": "http://127.0.0.1:8080/health", "ready_json": {"status": "ok"},
        "memory": ["model", "draft_model"], "env": {"A": "b"}, "after": ["ram-disk"],
    }  # fmt: skip
    service = read_service("ai-engine", table)
    assert service.ready_within_s == 1200
    assert service.rows == ("model", "draft_model")
    assert service.unit == "ai-engine"
    assert service.ready == Ready("http://127.0.0.1:8080/health", 200, (("status", "ok"),))
    assert read_service("x", {**LEAST, "memory": "200MiB"}).memory_bytes == 200 * 1024**2


def test_a_port_alone_is_ready_when_somebody_listens():
    assert read_service("x", {**LEAST, "port": 80}).ready.tcp
    assert not read_service("x", LEAST).ready.tcp


@pytest.mark.parametrize(("runs", "restarts"), [
    ("screen", True), ("process", True),
    ("launchd", False), ("systemd", False), ("ram-disk", False),  # they have a manager
])  # fmt: skip
def test_only_what_has_no_manager_is_restarted_by_us(runs, restarts):
    assert read_service("x", {"runs": runs, "command": ["x"]}).restart is restarts


@given(st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text()))
def test_any_table_is_read_or_refused(table):
    try:
        read_service("x", {**LEAST, **table})
    except Misread as refused:
        assert str(refused)


def test_services_start_after_what_they_need_and_else_in_the_order_of_the_file():
    services = by_name(
        a_service("proxy", "engine"),
        a_service("web"),
        a_service("engine", "disk"),
        a_service("disk"),
    )
    assert [one.name for one in in_order(services)] == ["web", "disk", "engine", "proxy"]
    assert [one.name for one in in_order(services, ["engine"])] == ["disk", "engine"]


def test_services_stop_before_what_they_need():
    services = by_name(a_service("disk"), a_service("engine", "disk"), a_service("proxy", "engine"))
    assert [one.name for one in in_reverse(services)] == ["proxy", "engine", "disk"]
    assert [one.name for one in in_reverse(services, ["engine"])] == ["proxy", "engine"]


@pytest.mark.parametrize(("services", "said"), [
    ([a_service("a", "b"), a_service("b", "a")], "wait for each other"),
    ([a_service("a", "a")], "wait for each other"),
    ([a_service("a", "z")], "declared nowhere"),
])  # fmt: skip
def test_an_order_that_cannot_be_is_refused(services, said):
    with pytest.raises(ValueError, match=said):
        check_order(by_name(*services))


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        in_order({}, ["x"])
