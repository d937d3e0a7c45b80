"""A Python that is started with this folder on its PYTHONPATH reaches no other machine."""

import sys

HERE = {None, "", "localhost", "127.0.0.1", "::1", b"localhost"}


def refuse(event: str, args: tuple) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if host not in HERE:
        raise OSError(f"{host}: there is no network in this test")


sys.addaudithook(refuse)
