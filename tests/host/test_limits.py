import resource
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "then"),
    [
        (64, 512, 256, 256),
        (64, 128, 256, 128),  # the hard limit is the user's
        (512, 512, 256, 512),  # never lowered
    ],
)
def test_the_limit_is_raised_as_far_as_it_may_be(soft, hard, wanted, then):
    code = (
        "import resource; from forge.host.limits import raise_open_files as r;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        f"print(r({wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(then), str(then), str(hard)]


def test_a_limit_that_the_system_refuses_is_no_failure():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = (
        "import resource; from forge.host.limits import raise_open_files as r;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}));"
        "resource.setrlimit = None or (lambda *_: (_ for _ in ()).throw(ValueError('no')));"
        "print(r(256))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["64"]
