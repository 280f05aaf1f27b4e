"""Replies that several parts of the core send."""

from forge.core.actions import Send


def error(conn: int, slug: str, message: str, hint: str | None = None) -> Send:
    """Refuse a request: `slug` is a heading of docs/messages.md, `hint` the way out."""
    return Send(conn, {"type": "error", "slug": slug, "message": message, "hint": hint})
