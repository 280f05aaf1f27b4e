"""A tree as lines is the same tree as core/remote_tree has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core import remote_lines, remote_tree
from forge.core.remote_lines import Content, Line, directory_head, file_head, symlink_head

DIGESTS = [bytes(f"{n:064x}", "ascii") for n in range(4)]
heads = st.one_of(
    st.builds(
        lambda mode, time, size, digest: Line(file_head(mode, time, size, digest)),
        st.integers(0, 0o177777),
        st.integers(-5, 1 << 62),
        st.integers(0, 9),
        st.sampled_from(DIGESTS),
    ),
    st.just(Line(symlink_head(5), b"a")),
)
names = st.binary(min_size=1, max_size=3).filter(
    lambda one: not set(one) & {0, 0x2F} and one not in (b".", b"..")
)
trees = st.dictionaries(names, heads, max_size=6)


@given(trees)
def test_both_write_the_same_manifest(lines):
    encoded = remote_lines.encode(lines)
    entries = remote_tree.decode(encoded)
    assert remote_tree.encode(entries) == encoded
    assert remote_lines.decode(encoded) == lines
    assert remote_lines.digest_of(encoded) == remote_tree.digest_of(encoded)


@given(trees, trees)
def test_both_find_the_same_patch_and_contents(base, new):
    patch = remote_lines.patch_between(base, new)
    old_entries = remote_tree.decode(remote_lines.encode(base))
    new_entries = remote_tree.decode(remote_lines.encode(new))
    expected = remote_tree.patch_between(old_entries, new_entries)
    assert remote_tree.decode_patch(remote_lines.encode(patch)) == expected
    assert remote_tree.patched(old_entries, expected) == new_entries
    packed = [one.digest.decode() for one in remote_lines.packed_with(patch, base)]
    assert packed == [one.digest for one in remote_tree.packed_with(expected, old_entries)]


def test_contents_are_named_by_their_place_in_the_manifest_and_sent_once():
    lines = {
        b"a": Line(directory_head(0o40755, 1)),
        b"a/x": Line(file_head(0o644, 1, 3, DIGESTS[1])),
        b"a/y": Line(file_head(0o755, 2, 3, DIGESTS[1])),
        b"b": Line(file_head(0o644, 1, 4, DIGESTS[2])),
    }
    found = list(remote_lines.contents_at(lines, [[0, 2], [2, 2]]))
    assert found == [Content(b"a/x", 3, DIGESTS[1]), Content(b"b", 4, DIGESTS[2])]
    with pytest.raises(IndexError, match="no entry 4"):
        list(remote_lines.contents_at(lines, [[3, 2]]))
