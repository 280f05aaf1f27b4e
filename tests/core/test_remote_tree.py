"""A tree has one encoding, patches lead from one to the next, and no path leaves it."""

import contextlib
import os
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core import remote_tree
from forge.core.remote_tree import Entry, Kind, TreeInvalid

HASH = "ab" * 32
FILE = Entry("src/main.rs", Kind.FILE, 0o644, 5, 3, HASH)
SRC = Entry("src", Kind.DIRECTORY, 0o755, 7)

NAMES = st.sampled_from(["a", "b", "c.rs", "caf\udce9", "ä", " ", "-", "a b", "$(id)", "\n"])


@st.composite
def trees(draw):
    """Trees with everything that may be in one."""
    found: dict[str, Entry] = {}
    directories = [""]
    for name in draw(st.lists(NAMES, max_size=12)):
        parent = draw(st.sampled_from(directories))
        path = f"{parent}/{name}".lstrip("/")
        if path in found:
            continue
        kind = draw(st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK]))
        mtime_ns = draw(st.integers(0, 2**63 - 1))
        if kind is Kind.DIRECTORY:
            found[path] = Entry(path, kind, 0o755, mtime_ns)
            directories.append(path)
        elif kind is Kind.FILE:
            digest = draw(st.sampled_from([HASH, "cd" * 32, "ef" * 32]))
            found[path] = Entry(path, kind, draw(st.integers(0, 0o777)), mtime_ns, 9, digest)
        else:
            found[path] = Entry(path, kind, 0o777, mtime_ns, target=draw(NAMES))
    return remote_tree.decode(remote_tree.encode(found.values()))


@given(trees(), st.randoms())
def test_a_tree_has_one_encoding_in_whatever_order_it_is_told(tree, random):
    shuffled = list(tree)
    random.shuffle(shuffled)
    encoded = remote_tree.encode(tree)
    assert remote_tree.encode(shuffled) == encoded
    assert remote_tree.decode(encoded) == tree


@given(trees(), trees())
def test_a_patch_makes_one_tree_of_the_other(old, new):
    patch = remote_tree.patch_between(old, new)
    encoded = remote_tree.encode(patch)
    assert remote_tree.decode_patch(encoded) == patch
    assert remote_tree.patched(old, patch) == new
    if old == new:
        assert not patch


@given(trees(), trees())
def test_what_is_packed_is_all_that_the_host_cannot_have_and_nothing_twice(old, new):
    packed = remote_tree.packed_with(remote_tree.patch_between(old, new), old)
    digests = [one.digest for one in packed]
    assert len(set(digests)) == len(digests)
    assert {one.digest for one in new} - {one.digest for one in old} - {"-"} == set(digests)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"", "empty"),
        (b"/etc/passwd", "plain"),
        (b"..", "plain"),
        (b"a/../../b", "plain"),
        (b"a/./b", "plain"),
        (b"a//b", "plain"),
        (b"a/", "plain"),
        (b"a\0b", "NUL"),
        (b"x" * 256, "component"),
        (b"/".join([b"x"] * 129), "deep"),
        (b"/".join([b"x" * 250] * 20), "too long"),
        (b"ok/$(rm -rf ~);`id`\n", ""),  # no shell ever sees it
        (b"caf\xe9", ""),
        (b"...", ""),
        (b"-rf", ""),
    ],
)
def test_a_path_is_plain_and_relative(path, why):
    found = remote_tree.path_refusal(path)
    assert why in found
    assert bool(found) is bool(why)


def raw(*entries: tuple[bytes, bytes, bytes]) -> bytes:
    return b"".join(b"%b\0%b\0%b\0" % one for one in entries)


DIR = b"d 755 0 0 -"
GOOD = b"f 644 1 3 " + HASH.encode()


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (raw((GOOD, b"b", b""), (GOOD, b"a", b"")), "order"),
        (raw((GOOD, b"a", b""), (GOOD, b"a", b"")), "order"),  # twice
        (raw((GOOD, b"a/b", b"")), "no directory"),
        (raw((GOOD, b"a", b""), (GOOD, b"a/b", b"")), "no directory"),
        (raw((b"l 777 0 0 -", b"a", b"b"), (GOOD, b"a/b", b"")), "no directory"),
        (raw((b"l 777 0 0 -", b"a", b"/etc")), "out of the tree"),
        (raw((b"l 777 0 0 -", b"a", b"..")), "out of the tree"),
        (raw((DIR, b"d", b""), (b"l 777 0 0 -", b"d/a", b"../../x")), "out of the tree"),
        (raw((DIR, b"d", b""), (b"l 777 0 0 -", b"d/a", b"x/../../../y")), "out of the tree"),
        (raw((b"l 777 0 0 -", b"a", b"")), "target"),
        (raw((GOOD, b"a", b"b")), "target"),
        (raw((b"f 644 0 3 -", b"a", b"")), "content"),
        (raw((b"d 755 0 3 -", b"a", b"")), "content"),
        (raw((b"- 0 0 0 -", b"a", b"")), "gone"),
        (raw((b"c 644 0 0 -", b"null", b"")), "head"),  # a device
        (raw((b"f 4755 0 3 " + HASH.encode(), b"a", b"")), "head"),  # set-user-id
        (raw((b"f 0644 0 3 " + HASH.encode(), b"a", b"")), "head"),  # another way to write 644
        (raw((b"f 644 +1 3 " + HASH.encode(), b"a", b"")), "head"),
        (raw((b"f 644 1 3 " + HASH.encode() + b"\n", b"a", b"")), "head"),
        (raw((b"f 644 9999999999999999999 3 " + HASH.encode(), b"a", b"")), "large"),
        (raw((b"f 644 1 9999999999999 " + HASH.encode(), b"a", b"")), "large"),
        (raw((GOOD, b"../x", b"")), "plain"),
        (GOOD + b"\0a", "middle"),
        (GOOD, "middle"),
    ],
)
def test_what_is_no_manifest_is_refused(encoded, why):
    with pytest.raises(TreeInvalid, match=why):
        remote_tree.decode(encoded)


@pytest.mark.parametrize(
    ("base", "patch", "why"),
    [
        ([], [Entry("a", Kind.GONE)], "never there"),
        ([SRC, FILE], [Entry("src", Kind.GONE)], "no directory"),  # what is in it is left behind
        ([], [FILE], "no directory"),
    ],
)
def test_a_patch_that_makes_no_tree_is_refused(base, patch, why):
    with pytest.raises(TreeInvalid, match=why):
        remote_tree.patched(base, patch)


def test_a_manifest_may_be_empty():
    assert remote_tree.decode(b"") == []


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(encoded):
    with contextlib.suppress(TreeInvalid):
        assert remote_tree.encode(remote_tree.decode(encoded)) == encoded


@given(
    st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=6).map("/".join),
    st.sampled_from(["l", "a/l", "a/b/l"]),
)
def test_a_symlink_that_is_let_through_leads_inside_by_its_text(target, path):
    if remote_tree.stays_inside(path, target):
        end = posixpath.normpath(posixpath.join("/top", posixpath.dirname(path), target))
        assert end == "/top" or end.startswith("/top/")


def test_symlinks_that_are_let_through_lead_inside_through_each_other_too(tmp_path):
    links = [("deep/er/up", "../.."), ("a", "deep/er/up/b"), ("b", "deep/er"), ("deep/c", "../a")]
    (tmp_path / "top/deep/er").mkdir(parents=True)
    for path, target in links:
        assert remote_tree.stays_inside(path, target)
        os.symlink(target, tmp_path / "top" / path)
    for path, _ in links:
        end = os.path.realpath(tmp_path / "top" / path)
        assert (end + "/").startswith(f"{tmp_path}/top/")


@given(st.sets(st.integers(0, 200)))
def test_indices_survive_being_written_as_spans(indices):
    spans = remote_tree.to_spans(sorted(indices))
    assert list(remote_tree.from_spans(spans)) == sorted(indices)
