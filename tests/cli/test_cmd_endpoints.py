"""`forge endpoints`: addresses are tried, and the lines for a client are right."""

import json
import socket

import pytest

from tests.cli.conftest import Forge


@pytest.fixture
def listening():
    opened = []

    def listen(host: str) -> int:
        opened.append(socket.create_server((host, 0)))
        return int(opened[-1].getsockname()[1])

    yield listen
    for sock in opened:
        sock.close()


def declare(place, **ports: int) -> None:
    text = "".join(
        f'[services.{name}]\nruns = "launchd"\nport = {port}\n' for name, port in ports.items()
    )
    (place / "forge.toml").write_text(text)


def test_each_address_is_tried(forge: Forge, place, listening):
    up = listening("127.0.0.1")
    declare(place, proxy=up, gone=1)
    told = forge("endpoints", "--json", "--host", "studio")
    assert told.code == 1  # one does not answer
    found = {one["service"]: one for one in json.loads(told.out)["endpoints"]}
    assert found["proxy"]["answers"]
    assert found["proxy"]["open"] is False
    assert not found["gone"]["answers"]
    table = forge("endpoints", "--host", "studio").out
    assert "by SSH only" in table
    assert "no: port 1" in table


@pytest.mark.parametrize(("host", "name", "line"), [
    ("127.0.0.1", "llama", "export OPENAI_BASE_URL=http://127.0.0.1:{port}/v1"),
    ("0.0.0.0", "llama", "export OPENAI_BASE_URL=http://studio:{port}/v1"),
    ("0.0.0.0", "router", "export ANTHROPIC_BASE_URL=http://studio:{port}"),
    ("127.0.0.1", "gateway", "ssh -N -L {port}:127.0.0.1:{port} "),
])  # fmt: skip
def test_the_lines_for_a_client_fit_the_service(forge: Forge, place, listening, host, name, line):
    port = listening(host)
    declare(place, **{name: port})
    told = forge("endpoints", "--host", "studio")
    assert told.code == 0
    assert line.format(port=port) in told.out
    assert ("ssh -N" in told.out) is (host == "127.0.0.1")
