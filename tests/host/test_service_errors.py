"""What went wrong last with a service, in real files."""

import pytest

from forge.host.service_errors import LastError, read_last_error, write_last_error


def test_the_later_error_is_kept_for_each_service(tmp_path):
    own = str(tmp_path / "services")
    assert read_last_error(own, "engine") is None
    write_last_error(own, "engine", LastError(1.0, "died"))
    write_last_error(own, "engine", LastError(2.0, "died: \udcff exit code 1"))
    write_last_error(own, "proxy", LastError(3.0, "port taken"))
    assert read_last_error(own, "engine") == LastError(2.0, "died: \udcff exit code 1")
    assert read_last_error(own, "proxy") == LastError(3.0, "port taken")
    assert {one.name for one in (tmp_path / "services").iterdir()} == {
        "engine.error", "proxy.error",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", '{"at": "x", "what": "y"}', '{"at": 1}', "\x00"])
def test_a_broken_file_says_nothing(tmp_path, text):
    (tmp_path / "engine.error").write_text(text)
    assert read_last_error(str(tmp_path), "engine") is None


def test_where_nothing_can_be_kept_nothing_fails(tmp_path):
    (tmp_path / "services").write_text("a file is in the way")
    write_last_error(str(tmp_path / "services"), "engine", LastError(1.0, "died"))
    assert read_last_error(str(tmp_path / "services"), "engine") is None
