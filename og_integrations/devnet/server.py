"""A small asyncio HTTP/1.1 server: one loop, any handler, TLS or not, and nothing left behind."""

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from collections.abc import Awaitable, Callable

import h11

from og_integrations.devnet.connection import Connection
from og_integrations.devnet.http import HungUpError, Reply, Request

Handler = Callable[[Request], Awaitable[Reply]]
_HANDSHAKE_SECONDS = 10.0
_SHUTDOWN_SECONDS = 1.0


def listen(*ports: int) -> list[socket.socket]:
    """Return a socket per port, listening on 127.0.0.1 (0: any free port). Raises `OSError`."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", port), backlog=512)) for port in ports]
        for sock in sockets:
            # asyncio does not do it for a socket that it was given, and then every answer waits 40 ms
            # for an ACK; accepted sockets inherit it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.pop_all()
    return sockets


def url_of(sock: socket.socket) -> str:
    """Return where `sock` listens, without TLS."""
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


class HttpServer:
    """
    Serves one listening socket with one handler until `close`.

    `connections` counts accepted connections (with TLS: finished handshakes), `handshakes` the TLS
    handshakes begun, `requests` the requests read.
    """

    def __init__(
        self,
        handler: Handler,
        sock: socket.socket,
        *,
        tls: ssl.SSLContext | None = None,
        impostor_tls: Callable[[], ssl.SSLContext | None] | None = None,
    ) -> None:
        self._handler = handler
        self._socket = sock
        self._tls = tls
        self._impostor_tls = impostor_tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.connections = 0
        self.handshakes = 0
        self.requests = 0

    async def start(self) -> None:
        """Begin to accept, in the running loop."""
        if self._tls is None:
            self._server = await asyncio.start_server(self._serve, sock=self._socket)
            return
        self._tls.sni_callback = self._on_client_hello
        self._server = await asyncio.start_server(
            self._serve,
            sock=self._socket,
            ssl=self._tls,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
        )

    async def close(self) -> None:
        """Stop accepting, cut every open connection, and wait until all are gone."""
        if self._server is not None:
            self._server.close()
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def release(self) -> None:
        """Close the listening socket, also if the server was never started."""
        self._socket.close()

    def _on_client_hello(self, tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        self.handshakes += 1
        impostor = None if self._impostor_tls is None else self._impostor_tls()
        if impostor is not None:
            tls.context = impostor

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        connection = Connection(reader, writer, self.connections)
        tls = writer.get_extra_info("ssl_object")
        impostor = tls is not None and tls.context is not self._tls
        try:
            await self._converse(connection, writer, impostor=impostor)
            writer.close()
            # A peer that never answers our close_notify must not keep the connection alive.
            async with asyncio.timeout(_SHUTDOWN_SECONDS):
                await writer.wait_closed()
        except (OSError, HungUpError, TimeoutError):
            pass
        except asyncio.CancelledError:
            # Only `stop` cancels, and is done with it. asyncio's own callback on this task would print
            # a traceback for a task that ends as cancelled (Python 3.11).
            if not self._stopping:
                raise
        finally:
            writer.transport.abort()

    async def _converse(self, connection: Connection, writer: asyncio.StreamWriter, *, impostor: bool) -> None:
        try:
            while (request := await connection.next_request()) is not None:
                self.requests += 1
                async with connection.watched():
                    reply = await self._handler(dataclasses.replace(request, impostor=impostor))
                    reusable = await connection.send(reply)
                if not reusable:
                    return
        except h11.RemoteProtocolError as exc:
            with contextlib.suppress(h11.LocalProtocolError):
                writer.write(connection.refuse(exc.error_status_hint))
                await writer.drain()
