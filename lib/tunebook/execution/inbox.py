"""What came from a candidate, cut into messages; every byte of it may be forged.

Checks form and size only: what a message means is for `standin`.
"""

import json
import struct

from tunebook.execution.values import MAX_BYTES

NO_MESSAGE = "an answer that is not a message"


class Stop(BaseException):
    """The candidate is done for, with this verdict; nothing that the test does after it counts."""

    def __init__(self, verdict: str, detail: str):
        super().__init__(verdict, detail)
        self.verdict, self.detail = verdict, detail


class Inbox:
    """Bytes as they came in `data`; a message is a 4-byte length and JSON `[number, kind, ...]`."""

    def __init__(self):
        self.data = bytearray()

    def take(self) -> list | None:
        """The next whole message, None if there is none yet. Raises Stop `invalid_output`."""
        if len(self.data) < 4:
            return None
        size = struct.unpack_from(">I", self.data)[0]
        if size > MAX_BYTES:
            raise Stop("invalid_output", f"an answer of {size} bytes, more than {MAX_BYTES}")
        if len(self.data) < 4 + size:
            return None
        text = bytes(self.data[4 : 4 + size])
        del self.data[: 4 + size]
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise Stop("invalid_output", NO_MESSAGE) from None
        if type(message) is not list or len(message) < 2 or type(message[0]) is not int or type(message[1]) is not str:
            raise Stop("invalid_output", NO_MESSAGE)
        return message
