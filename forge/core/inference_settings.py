"""Which inference servers there are, as they are set."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """One server: what it is called, where it answers, and the key that it wants, if any."""

    name: str
    url: str
    api_key: str | None = field(default=None, repr=False)
