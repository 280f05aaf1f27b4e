"""What machine this is, for commands that do without a daemon."""

from forge.errors import ConfigInvalid
from forge.host import machine


def memory_mib() -> int:
    """Return the machine's memory as the daemon would measure it. Raises ConfigInvalid."""
    try:
        return machine.memory_mib()
    except OSError as error:
        raise ConfigInvalid(
            f"the memory of this machine cannot be measured: {error}", hint="set `host.memory`"
        ) from None
