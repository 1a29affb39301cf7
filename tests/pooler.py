"""A small pooler in transaction mode: what PgBouncer does, as far as a check of it needs.

Clients share one connection to the server, which each holds for the length of a transaction.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg2.extensions import parse_dsn

from servers import uri

_TERMINATE, _READY = b"X", b"Z"


@contextmanager
def pooled(dsn: str, folder: Path) -> Iterator[str]:
    """Give the DSN of a pooler before a server that trusts whoever comes by its local socket."""
    parts = parse_dsn(dsn)
    server = _login(parts)
    turn = threading.Lock()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / ".s.PGSQL.6432"))
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_serve, args=(client, server, turn), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield uri({**parts, "host": str(folder), "port": "6432"})
        listener.shutdown(socket.SHUT_RDWR)
    server.close()


def _login(parts: dict[str, str]) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{parts['host']}/.s.PGSQL.{parts.get('port', '5432')}")
    words = ["user", parts["user"], "database", parts["dbname"], "client_encoding", "UTF8", "", ""]
    body = struct.pack("!i", 196608) + "\0".join(words).encode()
    server.sendall(struct.pack("!i", len(body) + 4) + body)
    while (message := _message(server))[:1] != _READY:
        if message[:1] == b"E" or (message[:1] == b"R" and message[5:9] != bytes(4)):
            raise ConnectionError(f"the server wants a password or refuses: {message!r}")
    return server


def _serve(client: socket.socket, server: socket.socket, turn: threading.Lock) -> None:
    with client:
        startup = _startup(client)
        while startup[:4] == struct.pack("!i", 80877103):  # a wish for TLS
            client.sendall(b"N")
            startup = _startup(client)
        client.sendall(b"R" + struct.pack("!ii", 8, 0))
        settings = {"server_version": "18.0", "client_encoding": "UTF8", "DateStyle": "ISO, MDY"}
        settings |= {"standard_conforming_strings": "on", "integer_datetimes": "on"}
        for name, value in settings.items():
            body = f"{name}\0{value}\0".encode()
            client.sendall(b"S" + struct.pack("!i", len(body) + 4) + body)
        client.sendall(b"K" + struct.pack("!iii", 12, 424242, 1))  # a made-up process
        client.sendall(_READY + struct.pack("!i", 5) + b"I")
        while (message := _message(client))[:1] not in (b"", _TERMINATE):
            with turn:
                while not _transaction_ended(message, client, server):
                    message = _message(client)


def _transaction_ended(message: bytes, client: socket.socket, server: socket.socket) -> bool:
    server.sendall(message)
    while (answer := _message(server))[:1] != _READY:
        client.sendall(answer)
    client.sendall(answer)
    return answer[5:6] == b"I"


def _startup(client: socket.socket) -> bytes:
    return _exactly(client, struct.unpack("!i", _exactly(client, 4))[0] - 4)


def _message(peer: socket.socket) -> bytes:
    try:
        head = _exactly(peer, 5)
    except ConnectionError:
        return b""
    return head + _exactly(peer, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := peer.recv(size - len(data))):
            raise ConnectionError("the peer is gone")
        data += more
    return data
