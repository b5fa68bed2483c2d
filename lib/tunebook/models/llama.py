"""llama.cpp's C functions, initialised once and quiet: it tells of every tensor on stderr otherwise.

Does not open files of others before they were looked at: that is `gguf_engine`'s and `gguf_tokenizer`'s duty.
"""

from __future__ import annotations

import functools

_last: list[str] = []  # the last lines of llama.cpp's log, for messages of errors


@functools.cache
def api():
    """The module `llama_cpp` with its log turned to `last_words`."""
    import llama_cpp

    def keep(level, text, data):
        if level >= 3:  # warnings and errors
            _last.append(text.decode(errors="replace").strip())
            del _last[:-20]

    llama_cpp.quiet_log = llama_cpp.llama_log_callback(keep)  # kept alive with the module
    llama_cpp.llama_log_set(llama_cpp.quiet_log, None)
    llama_cpp.llama_backend_init()
    return llama_cpp


def last_words() -> str:
    """The last error line that llama.cpp wrote, or ""."""
    return next((line for line in reversed(_last) if line), "")
