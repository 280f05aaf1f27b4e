"""What the doctor says of the host: each check well, and broken in turn."""

import pytest

from forge.core import checkup_host as host
from forge.core.checkup import Verdict

OK, WARN, FAIL, UNKNOWN = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.UNKNOWN
GIB = 1024**3
POWER = "Currently in use:\n standby 0\n autorestart {restart}\n disksleep {disk}\n sleep {sleep}\n"


def power(*, sleep: int = 0, disk: int = 0, restart: int = 1) -> str:
    return POWER.format(sleep=sleep, disk=disk, restart=restart)


CASES = [
    (host.files_row(1024, 1_048_576), OK, "1024"),
    (host.files_row(256, 1024), WARN, "1024"),  # macOS as it is shipped: hard limits vary
    (host.files_row(256, -1), OK, "no limit"),
    (host.watches_row(65536, 128), OK, "65536"),
    (host.watches_row(1024, 128), WARN, "1024 watches"),
    (host.watches_row(65536, 2), WARN, "2 instances"),
    (host.watches_row(None, None), UNKNOWN, ""),
    (host.lock_row(-1, 78 * GIB, is_privileged=False), OK, "unlimited"),
    (host.lock_row(8 << 20, 78 * GIB, is_privileged=True), OK, "unlimited"),
    (host.lock_row(8 << 20, 78 * GIB, is_privileged=False), WARN, "would not be locked"),
    (host.lock_row(8 << 20, 0, is_privileged=False), OK, "no model"),
    (host.lock_row(80 * GIB, 78 * GIB, is_privileged=False), OK, "80.0 GiB"),
    (host.clock_row(None, None), OK, ""),
    (host.clock_row(3600, True), WARN, "set back"),
    (host.clock_row(-5, False), WARN, "nobody keeps it right"),
    (host.clock_row(-5, True), OK, "network time"),
    (host.power_row(power()), OK, "never sleeps"),
    (host.power_row(power(sleep=1)), WARN, "after 1 minute"),
    (host.power_row(power(disk=10)), WARN, "disks sleep after 10 minutes"),
    (host.power_row(power(restart=0)), WARN, "power failure"),
    (host.power_row("nothing"), UNKNOWN, ""),
    (host.power_row(None), UNKNOWN, ""),
    (host.indexing_row("/V", "/V:\n\tIndexing enabled. \n"), WARN, "indexes /V"),
    (host.indexing_row("/V", "/V:\n\tIndexing disabled.\n"), OK, ""),
    (host.indexing_row("/V", None), UNKNOWN, ""),
    (host.backup_row("/V", "[Included]    /V\n"), WARN, "would back /V up"),
    (host.backup_row("/V", "[Excluded]    /V\n"), OK, ""),
    (host.backup_row("/V", None), UNKNOWN, ""),
    (host.installed_row({}), OK, "none"),
    (host.installed_row({"/a": True, "/b": False}), OK, "2 files"),
    (host.installed_row({"/a": True, "/b": None}), WARN, "/b is gone"),
    (host.services_row([]), OK, "none"),
    (host.services_row([("a", "well")]), OK, "all well"),
    (host.services_row([("a", "well"), ("b", "port taken")]), WARN, "b is port taken"),
    (host.keys_row("/k", ["ssh-ed25519 AAAA me"], 0o100600), OK, "no key"),
    (host.keys_row("/k", ['# restrict,command="forge serve"'], 0o100600), OK, "no key"),
    (host.keys_row("/k", ['restrict,command="forge serve --key a" ssh-ed25519 A a'], 0o100600),
     OK, "1 key"),
    (host.keys_row("/k", ['command="forge serve --key a" ssh-ed25519 AAAA a'], 0o100600),
     FAIL, "the key a has no `restrict`"),
    (host.keys_row("/k", ['restrict,command="forge serve" ssh-ed25519 A a'], 0o100666),
     FAIL, "others can add keys"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "verdict", "said"), CASES)
def test_a_check_is_judged_with_the_value_found_and_the_way_out(row, verdict, said):
    assert row.verdict is verdict
    assert said in row.finding
    if verdict in (WARN, FAIL):
        assert row.hint
