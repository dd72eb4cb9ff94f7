"""A way to a PostgreSQL server that can be cut: what a restart, a failing network or a computer that is gone look like."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

import sqlalchemy as sa


class Proxy:
    """Listens on this computer alone and hands on what comes, until it is `cut`, and again after `mend`."""

    def __init__(self, url: sa.URL, host: str = "127.0.0.1") -> None:
        self._server = url
        self.host = host
        self._listener: socket.socket | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._made: list[socket.socket] = []
        self._ghosts: list[socket.socket] = []
        self._lock = threading.Lock()
        with socket.create_server((host, 0)) as found:
            self.port = found.getsockname()[1]
        self.mend()

    def url(self, target: str) -> str:
        """The address of a database of the server, by this way."""
        url = sa.make_url(target)
        rest = {name: value for name, value in url.query.items() if name != "host"}
        url = url.set(host=self.host, port=self.port, query=rest)
        return url.render_as_string(hide_password=False)

    def mend(self) -> None:
        """Lets connections through."""
        self._listener = socket.create_server((self.host, self.port), reuse_port=True)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self, *, server_notices: bool = True) -> None:
        """Ends all connections, and takes no new ones; the server may believe on in those that there were."""
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            pairs, self._pairs = self._pairs, []
        self._ghosts = [] if server_notices else [server for _, server in pairs]
        for pair in pairs:
            for end in pair:
                if end not in self._ghosts:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def notice(self) -> None:
        """The server finds out that those are gone in whom it believed on, as its keepalives do after a while."""
        ghosts, self._ghosts = self._ghosts, []
        for ghost in ghosts:
            with contextlib.suppress(OSError):
                ghost.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends all that goes this way."""
        self.cut()
        for end in self._made:
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = self._connect()
                with self._lock:
                    self._pairs.append((client, server))
                    self._made += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _connect(self) -> socket.socket:
        folder = self._server.query.get("host")
        if isinstance(folder, str) and folder.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{folder}/.s.PGSQL.{self._server.port or 5432}")
            return server
        return socket.create_connection((self._server.host or folder or "localhost", self._server.port or 5432))

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        if sink not in self._ghosts:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)


def refusing_server(message: str) -> tuple[socket.socket, int]:
    """A server that refuses every connection with these words; closing the socket ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    fields = f"SFATAL\0VFATAL\0C28P01\0M{message}\0\0".encode()
    answer = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    client.recv(8)
                    client.sendall(b"N")  # no TLS
                    client.recv(1 << 12)
                    client.sendall(answer)
                    select.select([client], [], [], 5)

    threading.Thread(target=serve, daemon=True).start()
    return listener, listener.getsockname()[1]
