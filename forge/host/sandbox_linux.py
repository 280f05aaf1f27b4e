"""bubblewrap: namespaces of its own, in which only what is named is there."""

import os

TOOL = "bwrap"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt/rust")
CONFIGURATION = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/ssl",
)
"""What of /etc builds need. No shadow, no keys of the host."""


def options(
    written: tuple[str, ...], read: tuple[str, ...], home: str, has_network: bool
) -> list[str]:
    """Return bwrap's options."""
    words = ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    if has_network:
        words.append("--share-net")
    for place in SYSTEM:
        if os.path.islink(place):
            words += ["--symlink", os.readlink(place), place]
        else:
            words += ["--ro-bind-try", place, place]
    for place in CONFIGURATION:
        words += ["--ro-bind-try", place, place]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", home]  # noqa: S108  # its own
    for place in read:
        words += ["--ro-bind", place, place]
    for place in written:
        words += ["--bind", place, place]
    return [*words, "--"]
