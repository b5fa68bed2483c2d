"""What a parser may do when a file has broken it; run by `limited.call` in tests."""

import os
import signal


def spin():
    while True:
        pass


def fill():
    return {"x": len(bytearray(2**30))}


def die():
    os.kill(os.getpid(), signal.SIGSEGV)


def reads(path):
    try:
        with open(path) as stream:
            return {"read": bool(stream.read())}
    except OSError:
        return {"read": False}
