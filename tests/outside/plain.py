"""Plain HTTP: one request on a connection of its own, and its answer."""

import http.client
from typing import NamedTuple

import record
import story

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


class Answer(NamedTuple):
    status: int
    reason: str
    body: str
    headers: object

    @property
    def is_one_line(self):
        return len(self.body.strip().splitlines()) == 1


def plain(server, method, path, headers=None, address=None, body=None, shows_canvas=False):
    """Ask and hang up. `address` is where the request comes from; a `Host` among the headers replaces the usual one.

    What an answer says that `shows_canvas` is somebody's, and to be found there.
    """
    source = (address, 0) if address else None
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.port, timeout=story.DEADLINE, source_address=source
    )
    try:
        connection.putrequest(method, path, skip_accept_encoding=True, skip_host="Host" in (headers or {}))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        answer = Answer(response.status, response.reason, response.read().decode(), response.headers)
    finally:
        connection.close()
    # The page says the same to everybody, words of the protocol among it.
    is_page = answer.status == 200 and response.headers.get_content_type() == "text/html"
    shown = "" if is_page or shows_canvas and answer.status == 200 else answer.body
    record.heard(f"{answer.status} {answer.reason} {shown}")
    record.heard(str(answer.headers))
    return answer
