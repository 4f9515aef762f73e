"""Python's `websockets` over TLS: its asyncio client, used like its threaded one.

The threaded one reads in one thread while another writes, which OpenSSL permits on no connection and Python 3.11 does
not prevent: of some hundred handshakes with TLS 1.3 one waits for its answer for ever.
"""

import asyncio
import threading

import websockets.asyncio.client

_loop = asyncio.new_event_loop()
threading.Thread(target=_loop.run_forever, daemon=True).start()


def _done(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, _loop).result()


class Connection:
    """An open connection, for any thread."""

    def __init__(self, url, **options):
        async def connected():
            return await websockets.asyncio.client.connect(url, proxy=None, **options)

        self._connection = _done(connected())

    def send(self, message, text=None):
        _done(self._connection.send(message, text=text))

    def recv(self):
        return _done(self._connection.recv())

    def close(self, code=1000, reason=""):
        _done(self._connection.close(code, reason))

    def abort(self):
        """End it without a word, as a pulled cable does sooner or later."""
        _loop.call_soon_threadsafe(self._connection.transport.abort)

    @property
    def close_code(self):
        return self._connection.close_code

    @property
    def close_reason(self):
        return self._connection.close_reason
