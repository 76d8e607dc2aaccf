"""The least that an answer over HTTP costs here: uvicorn and starlette as we use them, the body read, a constant said.

python constant.py          prints {"port": ...} when it is ready
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import Generator

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def answer(request: Request) -> Response:
    await request.body()
    return Response(b'{"predictions":[{"prediction":1.25}]}', media_type="application/json")


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def main() -> None:
    app = Starlette(routes=[Route("/predict", answer, methods=["POST"])])
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
    server = Server(config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, setattr, server, "should_exit", True)
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
    await server.serve(sockets=[sock])


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
