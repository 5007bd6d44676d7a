"""What Ray takes of a machine, for whoever starts it: `engine` here, `cluster` on nodes."""

OBJECT_STORE_BYTES = 256 * 1024**2  # paths travel, arrays do not
LONGEST_SOCKET_PATH = 107  # bytes, of a Unix socket
RAY_SOCKET = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"  # in Ray's temporary folder
