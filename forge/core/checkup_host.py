"""What `forge doctor` says of the host: limits, clock, power, indexing, what is installed.

Judged from what was found; asks nobody. A row that `--fix` can mend names the remedy.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from forge.core.checkup import Row, Verdict
from forge.core.units import plural, show_bytes, show_duration

FEW_FILES = 4096
FEW_WATCHES = 8192
CLOCK_SLACK_S = 5.0
UNLIMITED = -1


def files_row(soft: int, hard: int) -> Row:
    """Judge how many files one process may open: a linker opens hundreds, cargo a few for each."""
    finding = f"{_count(soft)} for each process, at most {_count(hard)}"
    if hard != UNLIMITED and hard < FEW_FILES:
        return Row("open files", Verdict.WARN, finding, "raise the hard limit of `ulimit -n`")
    return Row("open files", Verdict.OK, finding)


def watches_row(watches: int | None, instances: int | None) -> Row:
    """Judge what inotify allows: forge.toml and target dirs are watched by it."""
    name = "file watches"
    if watches is None or instances is None:
        return Row(name, Verdict.UNKNOWN, "the system does not tell")
    finding = f"{watches} watches, {instances} instances"
    if watches < FEW_WATCHES or instances < 16:
        hint = "`sudo sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=128`"
        return Row(name, Verdict.WARN, finding, hint)
    return Row(name, Verdict.OK, finding)


def lock_row(limit_bytes: int, models_bytes: int, *, is_privileged: bool) -> Row:
    """Judge whether a server may lock its models in memory."""
    name = "locked memory"
    if limit_bytes == UNLIMITED or is_privileged:
        return Row(name, Verdict.OK, "unlimited")
    finding = f"at most {show_bytes(limit_bytes)} for each process"
    if not models_bytes:
        return Row(name, Verdict.OK, f"{finding}; no model is planned for")
    if limit_bytes < models_bytes:
        hint = "`LimitMEMLOCK=infinity` in its unit, or `memlock` in /etc/security/limits.conf"
        finding += f", and the models have {show_bytes(models_bytes)}: they would not be locked"
        return Row(name, Verdict.WARN, finding, hint)
    return Row(name, Verdict.OK, finding)


def clock_row(ahead_s: float | None, is_synchronised: bool | None) -> Row:
    """Judge the clock; `ahead_s` is how far in the future our own files were written."""
    if ahead_s is not None and ahead_s > CLOCK_SLACK_S:
        finding = f"it was set back: files of ours are from {show_duration(ahead_s)} ahead"
        return Row("clock", Verdict.WARN, finding, "cargo rebuilds what is newer than its inputs")
    if is_synchronised is False:
        hint = "turn on network time: builds over SSH compare times of files"
        return Row("clock", Verdict.WARN, "nobody keeps it right", hint)
    kept = "kept by network time" if is_synchronised else "no file of ours is from the future"
    return Row("clock", Verdict.OK, kept)


_POWER = re.compile(r"^\s*([A-Za-z][A-Za-z ]*?)\s+(\d+)\b", re.MULTILINE)


def power_row(told: str | None) -> Row:
    """Judge what `pmset -g` says: a headless machine must not sleep, and must come back."""
    if told is None:
        return Row("power", Verdict.UNKNOWN, "pmset does not answer")
    found = {name: int(value) for name, value in _POWER.findall(told)}
    if "sleep" not in found:
        return Row("power", Verdict.UNKNOWN, "pmset does not tell when it sleeps")
    wrong, mend = [], []
    if found["sleep"]:
        wrong.append(f"it sleeps after {plural(found['sleep'], 'minute')} and builds with it")
        mend.append("sleep 0")
    if found.get("disksleep"):
        mend.append("disksleep 0")
        wrong.append(f"its disks sleep after {plural(found['disksleep'], 'minute')}")
    if found.get("autorestart") == 0:
        wrong.append("it stays off after a power failure")
        mend.append("autorestart 1")
    if wrong:
        return Row("power", Verdict.WARN, "; ".join(wrong), f"`sudo pmset -a {' '.join(mend)}`")
    return Row("power", Verdict.OK, "it never sleeps, and starts again after a power failure")


def indexing_row(place: str, told: str | None) -> Row:
    """Judge whether Spotlight reads the RAM disk: each object file would be read once more."""
    if told is None:
        return Row("Spotlight", Verdict.UNKNOWN, "mdutil does not answer")
    if "enabled" in told.lower():
        finding, hint = f"it indexes {place}", f"`mdutil -i off {place}`"
        return Row("Spotlight", Verdict.WARN, finding, hint, fix="spotlight")
    return Row("Spotlight", Verdict.OK, f"it leaves {place} alone")


def backup_row(place: str, told: str | None) -> Row:
    """Judge whether Time Machine leaves the RAM disk out."""
    if told is None:
        return Row("Time Machine", Verdict.UNKNOWN, "tmutil does not answer")
    if "[Included]" in told:
        finding, hint = f"it would back {place} up", f"`tmutil addexclusion {place}`"
        return Row("Time Machine", Verdict.WARN, finding, hint, fix="time machine")
    return Row("Time Machine", Verdict.OK, f"it leaves {place} alone")


def installed_row(files: Mapping[str, bool | None]) -> Row:
    """Judge the installation: `files` are those it wrote; True: as written, None: gone."""
    name = "installation"
    if not files:
        finding = "none: the daemon starts with the first build, and not with the machine"
        return Row(name, Verdict.OK, finding, "`forge install` makes it permanent")
    gone = [path for path, state in files.items() if state is None]
    if gone:
        return Row(name, Verdict.WARN, f"{gone[0]} is gone", "`forge install`")
    return Row(name, Verdict.OK, f"{plural(len(files), 'file')}, as written or as you changed them")


def services_row(states: Sequence[tuple[str, str]]) -> Row:
    """Judge the declared services, each with its state."""
    name = "services"
    if not states:
        return Row(name, Verdict.OK, "none are declared")
    unwell = [f"{service} is {state}" for service, state in states if state != "well"]
    if not unwell:
        return Row(name, Verdict.OK, f"{plural(len(states), 'service')}, all well")
    return Row(name, Verdict.WARN, "; ".join(unwell), "`opta-status`, then `opta-start`")


def keys_row(path: str, lines: Iterable[str], mode: int | None) -> Row:
    """Judge the keys that may build here: each must be restricted, and forced to `forge serve`."""
    name = "build keys"
    ours = [line for line in lines if "forge serve" in line and not line.startswith("#")]
    if not ours:
        return Row(name, Verdict.OK, "no key may build over SSH")
    loose = [line for line in ours if not line.split("command=")[0].startswith("restrict")]
    if loose:
        key = loose[0].split()[-1]
        hint = "`forge remote revoke`, then `forge remote authorize`"
        return Row(name, Verdict.FAIL, f"{path}: the key {key} has no `restrict`", hint)
    if mode is not None and mode & 0o022:
        finding = f"{path} has mode {mode & 0o777:04o}: others can add keys"
        return Row(name, Verdict.FAIL, finding, f"`chmod 600 {path}`", fix="keys")
    return Row(name, Verdict.OK, f"{plural(len(ours), 'key')}, each restricted to `forge serve`")


def _count(limit: int) -> str:
    return "no limit" if limit == UNLIMITED else str(limit)
