"""sandbox-exec: a profile of what a process and all that it starts may do.

Everything that a toolchain does is allowed but for what is walled off: the network, the home
directory and other users' files, writing anywhere but inside, and asking launchd to start something
that would stand outside.
"""

import json

TOOL = "sandbox-exec"
HOMES = ("/Users", "/Volumes", "/private/tmp", "/private/var/folders", "/private/var/root")
DEVICES = ("/dev/null", "/dev/zero", "/dev/tty", "/dev/dtracehelper", "/dev/random", "/dev/urandom")
LAUNCHERS = (
    "com.apple.coreservices.launchservicesd",
    "com.apple.coreservices.appleevents",
    "com.apple.pasteboard.1",
    "com.apple.securityd",
    "com.apple.SecurityServer",
)


def options(
    written: tuple[str, ...], read: tuple[str, ...], home: str, has_network: bool
) -> list[str]:
    """Return the options of sandbox-exec: the profile itself."""
    return ["-p", profile(written, read, home, has_network)]


def profile(written: tuple[str, ...], read: tuple[str, ...], home: str, has_network: bool) -> str:
    """Write the profile. Of rules that fit, the last one counts."""
    lines = ["(version 1)", "(allow default)"]
    if not has_network:
        lines.append("(deny network*)")
    lines += [
        "(deny file-write*)",
        *(f"(deny file-read-data (subpath {_quoted(one)}))" for one in (*HOMES, home)),
        *(f"(allow file-read* (subpath {_quoted(one)}))" for one in (*read, *written)),
        *(f"(allow file-write* (subpath {_quoted(one)}))" for one in written),
        *(f"(allow file-write* (literal {_quoted(one)}))" for one in DEVICES),
        '(allow file-write* (regex #"^/dev/ttys[0-9]+$"))',
        "(deny signal)",
        "(allow signal (target same-sandbox))",
        "(deny process-info*)",
        "(allow process-info* (target same-sandbox))",
        *(f"(deny mach-lookup (global-name {_quoted(one)}))" for one in LAUNCHERS),
        "(deny job-creation)",
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: str) -> str:
    """Write a path as a string of the profile's language, which is Scheme's."""
    return json.dumps(path, ensure_ascii=False)
