"""A client's tree gets here whole, exact, and by as little as has changed."""

import hashlib
import os
import time

import pytest

from forge.core import remote_tree
from forge.core.remote_frames import FrameType, encode
from forge.core.remote_messages import Error, Need, Open, Ready
from forge.serve import area
from tests.serve.client import CHECKOUT, LONG_AGO_NS, contents_of, tree_of

FILES: dict[str, bytes | tuple[bytes, int]] = {
    "Cargo.toml": b"[package]\n",
    "src/main.rs": b"fn main() {}\n",
    "run.sh": (b"#!/bin/sh\n", 0o755),
    "empty": b"",
    "caf\udce9": b"bytes",
}
LINKS = {"link": "src/main.rs", "src/up": "../Cargo.toml"}


def looks(root):
    """Everything that is in a directory: kind, mode, time and content."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content = ""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            key = os.path.relpath(path, root)
            found[key] = (oct(status.st_mode), status.st_mtime_ns, content)
    return found


def test_a_tree_gets_here_with_modes_times_and_symlinks(serve, tree):
    answer = serve().sync(FILES, LINKS)
    assert isinstance(answer, Ready)
    assert (answer.root, answer.written) == (str(tree), 8)
    found = looks(tree)
    assert sorted(found) == sorted([*FILES, *LINKS, "src"])
    assert found["run.sh"][0] == oct(0o100755)
    assert found["link"][2] == "src/main.rs"
    assert (tree / "caf\udce9").read_bytes() == b"bytes"
    assert {time_ns for _, time_ns, _ in found.values()} == {LONG_AGO_NS}


def test_a_tree_that_has_not_changed_costs_its_name_and_touches_nothing(serve, tree):
    serve().sync(FILES, LINKS)
    before = looks(tree)
    entries = tree_of(FILES, LINKS)
    client = serve()
    name = remote_tree.digest_of(remote_tree.encode(entries))
    client.send(Open(project="tiny", checkout=CHECKOUT, tree=name))
    answer = client.message()
    assert answer == Ready(tree=name, root=str(tree), written=0)
    assert looks(tree) == before


def test_one_changed_file_takes_no_second_question_and_leaves_the_others_alone(serve, tree):
    client = serve()
    client.sync(FILES, LINKS)
    before = looks(tree)
    changed = FILES | {"src/main.rs": b"fn main() { new() }\n"}
    base = tree_of(FILES, LINKS)
    answer = client.sync(changed, entries=tree_of(changed, LINKS), base=base)
    assert isinstance(answer, Ready)
    assert answer.written == 1
    after = looks(tree)
    assert {path for path in after if after[path] != before[path]} == {"src/main.rs"}


def test_files_that_are_gone_moved_or_something_else_now_are_so_here_too(serve, tree):
    client = serve()
    client.sync(FILES, LINKS)
    files = {
        "Cargo.toml": b"[package]\n",
        "lib/moved.rs": b"fn main() {}\n",
        "link/now": b"a directory",
    }
    links = {"run.sh": "lib"}
    sent_before = len(client.frames)
    answer = client.sync(files, links)
    assert isinstance(answer, Ready), answer
    assert sorted(looks(tree)) == sorted([*files, *links, "lib", "link"])
    assert (tree / "lib" / "moved.rs").read_bytes() == b"fn main() {}\n"
    assert sent_before == 0


def test_a_content_that_is_here_already_is_not_asked_for_again(serve):
    client = serve()
    client.sync(FILES)
    renamed = {**FILES, "src/other.rs": FILES["src/main.rs"]}
    entries = tree_of(renamed)
    encoded = remote_tree.encode(entries)
    client.send(Open(project="tiny", checkout=CHECKOUT, tree=remote_tree.digest_of(encoded)))
    assert client.message() == Need(manifest=True)
    client.send_data(FrameType.MANIFEST, encoded)
    client.send(encode(FrameType.SYNC_END))
    assert isinstance(client.message(), Ready)


def test_what_a_build_has_changed_is_put_back_and_what_it_made_stays(serve, tree):
    client = serve()
    client.sync(FILES, LINKS)
    (tree / "src" / "main.rs").write_text("changed by a build script")
    (tree / "run.sh").unlink()
    (tree / "link").unlink()
    (tree / "src" / "generated.rs").write_text("made")
    answer = client.sync(FILES, LINKS)
    assert isinstance(answer, Ready)
    assert answer.written == 3
    assert (tree / "src" / "main.rs").read_bytes() == FILES["src/main.rs"]
    assert (tree / "src" / "generated.rs").read_text() == "made"
    assert os.readlink(tree / "link") == "src/main.rs"


def test_a_file_that_a_build_has_linked_to_something_else_is_made_anew(serve, tree, home):
    client = serve()
    client.sync(FILES)
    (home / "other").write_bytes(FILES["src/main.rs"])
    os.utime(home / "other", ns=(LONG_AGO_NS, LONG_AGO_NS))
    (home / "other").chmod(0o644)
    (tree / "src" / "main.rs").unlink()
    os.link(home / "other", tree / "src" / "main.rs")
    answer = client.sync(FILES)
    assert isinstance(answer, Ready)
    assert os.stat(home / "other").st_nlink == 1


def test_once_something_has_run_what_changes_is_as_new_as_now_whatever_the_clients_clock(
    serve, tree
):
    client = serve()
    client.sync(FILES)
    (tree.parent / ".state" / "has_run").touch()
    before_ns = time.time_ns()
    changed = FILES | {"src/main.rs": b"// saved by a clock that is years behind\n"}
    client.sync(changed)
    assert (tree / "src" / "main.rs").stat().st_mtime_ns >= before_ns
    assert (tree / "Cargo.toml").stat().st_mtime_ns == LONG_AGO_NS


def test_a_time_in_the_future_becomes_now(serve, tree):
    serve().sync(FILES, mtime_ns=time.time_ns() + 10**15)
    assert (tree / "Cargo.toml").stat().st_mtime_ns <= time.time_ns()


def test_a_change_that_was_interrupted_is_made_up_for(serve, tree):
    serve().sync(FILES, LINKS)
    (tree.parent / ".state" / "manifest").unlink()  # as a power cut leaves it
    (tree / "stale.rs").write_text("of a tree that was")
    answer = serve().sync(FILES, LINKS)
    assert isinstance(answer, Ready)
    assert not (tree / "stale.rs").exists()
    assert sorted(looks(tree)) == sorted([*FILES, *LINKS, "src"])


def test_a_patch_for_another_tree_is_passed_over_and_the_manifest_asked_for(serve, tree):
    client = serve()
    client.sync(FILES)
    answer = client.sync(FILES | {"new": b"1"}, base=tree_of({"Cargo.toml": b"never here"}))
    assert isinstance(answer, Ready)
    assert (tree / "new").read_bytes() == b"1"


def test_many_files_with_one_content_are_sent_once(serve, tree):
    files = {f"f{n}": b"the same" for n in range(50)}
    answer = serve().sync(files)
    assert isinstance(answer, Ready)
    assert {(tree / name).read_bytes() for name in files} == {b"the same"}
    assert len(contents_of(files)) == 1
    assert {(tree / name).stat().st_nlink for name in files} == {1}


def test_keys_projects_and_checkouts_have_trees_of_their_own(serve, home):
    roots = set()
    for key, project, checkout in (
        ("a", "p", "01" * 4), ("b", "p", "01" * 4), ("a", "q", "01" * 4), ("a", "p", "02" * 4),
    ):  # fmt: skip
        answer = serve(key=key).sync(FILES, project=project, checkout=checkout)
        assert isinstance(answer, Ready)
        roots.add(answer.root)
    assert len(roots) == 4
    assert len(list(home.glob("s/areas/*/*/*"))) == 4


@pytest.mark.parametrize(
    ("options", "slug"),
    [(("--max-files", "3"), "quota-exceeded"), (("--max-bytes", "20"), "quota-exceeded")],
)
def test_a_tree_that_is_over_the_keys_quota_is_refused_before_its_contents_are_sent(
    serve, tree, options, slug
):
    answer = serve(*options).sync(FILES)
    assert isinstance(answer, Error)
    assert (answer.slug, answer.exit_code) == (slug, 73)
    assert not list(tree.iterdir())


def test_all_trees_of_a_key_count_together(serve):
    first = serve("--max-files", "9").sync(FILES, checkout="01" * 4)
    assert isinstance(first, Ready)
    second = serve("--max-files", "9").sync(FILES, checkout="02" * 4)
    assert isinstance(second, Error)
    assert second.slug == "quota-exceeded"


def test_a_disk_without_room_is_said_before_anything_is_touched(serve, tree, monkeypatch):
    serve().sync(FILES)
    monkeypatch.setattr(area, "MIN_FREE_BYTES", 1 << 60)  # what is forked off has it too
    answer = serve().sync(FILES | {"new": b"1"})
    assert isinstance(answer, Error)
    assert (answer.slug, answer.exit_code) == ("host-failed", 74)
    assert "no room" in answer.message
    assert not (tree / "new").exists()
    monkeypatch.undo()
    assert isinstance(serve().sync(FILES | {"new": b"1"}), Ready)
