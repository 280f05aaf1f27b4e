"""How Forge treats inference servers: which there are, and what builds leave to them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge.core.inference_settings import ServerSpec

BUILD_NICE = 10
"""How far builds step back for a server. Measured in docs/design/inference.md#cores."""


@dataclass(frozen=True, slots=True)
class InferencePolicy:
    """What is set. `cores` None: each server's own figure counts (`inference_server.cores_of`).

    `protect`: the server's standing with the kernel may be changed, where the system allows it.
    `build_nice` 0: builds do not step back.
    """

    servers: "tuple[ServerSpec, ...]" = ()
    cores: int | None = None
    protect: bool = False
    build_nice: int = BUILD_NICE
