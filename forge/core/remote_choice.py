"""What stays on the client, whatever git says: secrets, and what cargo can make again.

The patterns are of names that hold secrets by custom. A name that is often something else is not
among them: `credentials.rs` is a module, `key.rs` as well.
"""

import re
from collections.abc import Iterable

_SECRET_NAMES = (
    r"\.env",
    r"\.env\.(?!example$|sample$|template$|dist$)[^/]+",
    r"\.envrc",
    r".+\.(?:pem|key|p12|pfx|p8|jks|keystore|kdbx|ppk|asc|gpg|tfstate|tfvars)",
    r"id_(?:rsa|dsa|ecdsa|ed25519|ecdsa_sk|ed25519_sk)(?:[._-][^/]*)?",
    r"\.(?:npmrc|pypirc|netrc|pgpass|htpasswd|dockercfg|git-credentials|vault-token|s3cfg|boto)",
    r"_netrc",
    r"credentials(?:\.(?:toml|json|ya?ml|ini|csv))?",
    r"(?:secrets?|service[-_]account[^/]*)\.(?:toml|json|ya?ml|ini)",
)
_PRIVATE_DIRECTORIES = r"\.(?:ssh|aws|gnupg|azure|kube|docker|gcloud)"
_SECRET = re.compile(
    rf"(?:.*/)?(?:{_PRIVATE_DIRECTORIES}/.+|{'|'.join(_SECRET_NAMES)})".encode(), re.DOTALL
)

REPOSITORIES = frozenset((b".git", b".hg", b".svn", b".jj", b".bzr", b"CVS"))
"""Directories in which programs keep versions: no source of cargo's."""

MANIFEST = b"Cargo.toml"
TAG = b"CACHEDIR.TAG"
"""What cargo, and other programs, put into a directory that can be made again."""


def is_secret(path: bytes) -> bool:
    """Say whether a path looks like a secret."""
    return bool(_SECRET.fullmatch(path))


def without_targets(paths: Iterable[bytes]) -> list[bytes]:
    """Leave out target dirs: those beside a manifest, and those that say so of themselves."""
    listed = list(paths)
    unwanted = {
        _join(_parent(one), b"target") for one in listed if one.rpartition(b"/")[2] == MANIFEST
    }
    tagged = tuple(_parent(one) + b"/" for one in listed if one.endswith(b"/" + TAG))
    return [
        one
        for one in listed
        if not (
            (b"target" in one and not unwanted.isdisjoint(_upwards(one)))
            or (tagged and one.startswith(tagged))
        )
    ]


def _upwards(path: bytes) -> list[bytes]:
    """Return a path and all above it."""
    components = path.split(b"/")
    return [b"/".join(components[:count]) for count in range(len(components), 0, -1)]


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _join(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent else name
