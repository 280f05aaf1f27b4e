"""Who is at the other end of a Unix socket."""

import socket
import struct
import sys


def peer_uid(sock: socket.socket) -> int:
    """Return the uid of the peer: SO_PEERCRED of unix(7); LOCAL_PEERCRED of sys/un.h on macOS."""
    if sys.platform == "darwin":
        sol_local, local_peercred = 0, 1
        xucred = sock.getsockopt(sol_local, local_peercred, 76)
        return int(struct.unpack_from("II", xucred)[1])
    ucred = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", ucred)[1])
