"""The same relay on Python's websockets, in the shape of the earlier session server."""

import asyncio
from collections import defaultdict

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

sessions = defaultdict(dict)  # session -> user -> connection


async def send(connection, message):
    try:
        await connection.send(message)
    except ConnectionClosed:
        pass  # its own handler takes it off the list


async def serve_client(connection):
    _, _, session, user = connection.request.path.split("/", 3)
    members = sessions[session]
    members[user] = connection
    try:
        async for message in connection:
            for other, its_connection in list(members.items()):
                if other != user:
                    await send(its_connection, message)
    finally:
        members.pop(user, None)


async def main():
    # Whoever is slow to answer pings under load is not to be thrown out.
    options = {"backlog": 4096, "ping_interval": None, "compression": None}
    async with serve(serve_client, "127.0.0.1", 0, **options) as server:
        host, port = server.sockets[0].getsockname()
        print(f"listening on {host}:{port}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
