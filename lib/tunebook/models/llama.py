"""llama.cpp's C functions, initialised once and quiet: it tells of every tensor on stderr otherwise.

Does not open files of others before they were looked at: that is `gguf_engine`'s and `gguf_tokenizer`'s duty.
"""

from __future__ import annotations

import functools
import os

LONGEST_LINE = 300  # characters
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
    """What llama.cpp wrote of its last error, or ""; the line with the reason where there is one. Forgets what it wrote."""
    lines = [line for line in _last if line]
    _last.clear()
    for sign in ("error loading model", "not found", "missing"):
        reasons = [line for line in lines if sign in line]
        if reasons:
            return " ".join(reasons[-1].rpartition("error loading model: ")[2].split())[:LONGEST_LINE]
    return " ".join(lines[-1].split())[:LONGEST_LINE] if lines else ""


def try_load(path: str, is_whole: bool) -> dict:
    """Opens a file as `gguf_tokenizer.load` does, the vocabulary or all of it, and reads one token. For a child process: what
    counts is whether it lives on. `opened` is None where llama.cpp itself is not to be had.
    """
    try:
        llama = api()
    except (ImportError, OSError, RuntimeError):
        return {"opened": None}
    params = llama.llama_model_default_params()
    params.vocab_only, params.n_gpu_layers = not is_whole, 0
    params.use_extra_bufts = False  # weights stay where they are mapped
    model = llama.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        return {"opened": False}
    token = (llama.llama_token * 64)()
    vocab = llama.llama_model_get_vocab(model)
    count = llama.llama_tokenize(vocab, b"a", 1, token, len(token), False, True)
    if is_whole and count > 0:
        settings = llama.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = 256
        settings.n_threads = settings.n_threads_batch = 1
        ctx = llama.llama_init_from_model(model, settings)
        if ctx:
            llama.llama_decode(ctx, llama.llama_batch_get_one(token, 1))
    return {"opened": True}
