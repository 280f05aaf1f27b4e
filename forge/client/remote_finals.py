"""What a build's caller gets back into the own target dir, and the Cargo.lock that cargo changed.

Finals that came once and are fresh there and untouched here need not come again. That holds while
nothing else has written finals there: what may write them makes us forget what came.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from forge.client.remote_checkout import Checkouts
from forge.client.remote_fetch import Fetched, fetch, is_here, locks_to_take, size_and_time
from forge.client.remote_index import write_file
from forge.client.remote_link import Link
from forge.client.talk import say
from forge.core.remote_artifacts import Finals
from forge.core.units import plural
from forge.core.workspace import CargoConfig


def local_target_dir(root: str, config: CargoConfig, env: Mapping[str, str]) -> str:
    """Return where cargo would build here."""
    named = env.get("CARGO_TARGET_DIR") or env.get("CARGO_BUILD_TARGET_DIR")
    if named and named != env.get("FORGE_TARGET_DIR"):
        return os.path.abspath(named)
    if config.target_dir and config.target_dir_file:
        base = os.path.dirname(os.path.dirname(config.target_dir_file))
        return os.path.normpath(os.path.join(base, config.target_dir))
    return os.path.join(root, "target")


class FinalsHere:
    """The finals of one checkout, as they are here and on one host."""

    def __init__(self, checkouts: Checkouts, host: str, target_dir: str) -> None:
        self._checkouts, self._host = checkouts, host
        self.target_dir = target_dir
        self._file = checkouts.file(f"finals-{checkouts.slug(host)}.json")
        self._came = self._load()
        self._finals: Finals | None = None
        self._locks: dict[str, tuple[int, int] | None] = {}

    def forget(self) -> None:
        """Forget what came: something is run that may write finals."""
        if self._came:
            self._store({})

    def listen(self, root: str, target_dir: str) -> Callable[[bytes], None]:
        """Return what reads cargo's messages."""
        self._finals = Finals(root, target_dir)
        return self._finals.feed

    def bring(self, link: Link) -> None:
        """Bring the finals that are not here."""
        if self._finals is None:
            say(f"`{self._host}` does not tell where it builds: nothing comes back")
            return
        places = {path: os.path.join(self.target_dir, path) for path in self._finals.found}
        kept = {
            path: self._came[path]
            for path, is_fresh in self._finals.found.items()
            if is_fresh and is_here(places[path], self._came.get(path))
        }
        wanted = {path: place for path, place in places.items() if path not in kept}
        came = fetch(link, "target", wanted) if wanted else {}
        self._store(kept | came)
        if came:
            say(f"{plural(len(came), 'final')} came back to {self.target_dir}")

    def note_locks(self) -> None:
        """Take note of each Cargo.lock as it is sent, and of those that may come."""
        for root in self._checkouts.checkout.roots:
            place = os.path.join(root, "Cargo.lock")
            path = os.path.normpath(self._checkouts.checkout.below_top(place))
            self._locks[path] = size_and_time(place)

    def bring_locks(self, link: Link, changed: Sequence[str]) -> None:
        """Bring back each Cargo.lock that cargo changed there."""
        places = locks_to_take(changed, self._locks, self._checkouts.checkout.top)
        if places:
            fetch(link, "tree", places)

    def _load(self) -> dict[str, Fetched]:
        try:
            with open(self._file, "rb") as file:
                return {path: Fetched(**one) for path, one in json.load(file).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # it can be made again

    def _store(self, came: Mapping[str, Fetched]) -> None:
        text = json.dumps({path: asdict(one) for path, one in came.items()})
        write_file(self._file, text.encode())
