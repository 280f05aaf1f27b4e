"""Which files a build's caller wants back, by cargo's messages."""

import json

from forge.core.remote_artifacts import Finals


def message(
    kind: str, *names: str, manifest: str = "/t/a/Cargo.toml", fresh: bool = False
) -> bytes:
    return json.dumps(
        {
            "reason": "compiler-artifact", "target": {"kind": [kind]}, "filenames": list(names),
            "manifest_path": manifest, "fresh": fresh,
        }
    ).encode() + b"\n"  # fmt: skip


def found(*pieces: bytes) -> dict[str, bool]:
    finals = Finals("/t", "/ram/x")
    for piece in pieces:
        finals.feed(piece)
    return finals.found


def test_programs_and_libraries_for_others_are_finals():
    assert found(
        message("bin", "/ram/x/debug/a"),
        message("bin", "/ram/x/release/b", fresh=True),
        message("example", "/ram/x/debug/examples/c"),
        message("cdylib", "/ram/x/x86_64-unknown-linux-gnu/debug/libd.so"),
    ) == {
        "debug/a": False,
        "release/b": True,
        "debug/examples/c": False,
        "x86_64-unknown-linux-gnu/debug/libd.so": False,
    }


def test_what_is_for_cargo_alone_is_none():
    assert not found(
        message("lib", "/ram/x/debug/liba.rlib"),
        message("bin", "/ram/x/debug/deps/a-1f"),
        message("custom-build", "/ram/x/debug/build/a-1f/build-script-build"),
        message("proc-macro", "/ram/x/debug/libm.so"),
        message("cdylib", "/ram/x/debug/libe.so", manifest="/registry/e/Cargo.toml"),
    )


def test_nothing_leads_out_of_the_target_dir():
    assert not found(
        message("bin", "/ram/x/../../etc/passwd"),
        message("bin", "/etc/passwd"),
        message("bin", "/ram/x/"),
        message("bin", "/ram/xy/debug/a"),
    )


def test_pieces_end_anywhere_and_other_lines_are_passed_over():
    whole = b"{not json\n[1]\n" + message("bin", "/ram/x/debug/a") + b'{"reason": 5}\n{}\n'
    assert found(*(whole[at : at + 7] for at in range(0, len(whole), 7))) == {"debug/a": False}
