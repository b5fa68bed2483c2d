"""The tokenizer and the chat template inside a GGUF file, as llama.cpp reads them, with the methods of a transformers
tokenizer that this kit uses.

`checked` is the way in for every GGUF file: it is looked at in a limited child first. Does not generate.
"""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

from tunebook.errors import InputProblem
from tunebook.inspection.file_kind import GGUF, file_kind_of
from tunebook.inspection.limited import LARGE_BYTES, ChildLimits, Refused, call, look
from tunebook.inspection.template_sandbox import Renderer
from tunebook.models.templates import closing_token, named_end, use_template

TRIAL = ChildLimits(cpu_seconds=60, wall_seconds=300, memory_bytes=2**44)


def checked_file(path: Path, scan: bool = True) -> dict:
    """What `inspect_gguf` says of a file that may be opened. Raises InputProblem with the first error."""
    if file_kind_of(path) != GGUF:
        raise InputProblem(f"gguf: {path} is no GGUF file")
    place, state = str(path.resolve()), path.stat()
    try:
        found = look("tunebook.inspection.gguf_checks:inspect_gguf", {"path": place}, [path], state.st_size, scan)
    except InputProblem as problem:
        raise InputProblem(f"gguf: {path}: {problem}; `tunebook inspect` lists every objection") from None
    errors = [row for row in found["findings"] if row["severity"] == "error"]
    if errors:
        raise InputProblem(f"gguf: {path}: {errors[0]['message']}; `tunebook inspect` lists every objection")
    if found["kind"] == "gguf":
        _try(os.path.abspath(path), state.st_size, state.st_mtime_ns, state.st_ino)
    return found


@functools.cache  # a file is tried once, as long as it is the same
def _try(path: str, size: int, changed: int, inode: int) -> None:
    """Lets a child open the file first: llama.cpp aborts on some files, and a process that aborts says nothing."""
    files = sorted(Path(path).parent.glob("*-of-*.gguf")) if "-of-" in path else []
    try:
        argument = {"path": path, "is_whole": size <= LARGE_BYTES}
        call("tunebook.models.gguf_tokenizer:try_load", argument, [Path(path), *files], TRIAL)
    except Refused as problem:
        if problem.by_signal:
            message = (
                f"llama.cpp cannot be let near it ({problem}), so it is not opened here; fetch the file again or"
                " convert it again"
            )
            raise InputProblem(f"gguf: {path}: {message}") from None


def load_gguf(path: Path, **settings):
    """A llama.cpp model pointer. Raises InputProblem when llama.cpp does not take the file."""
    llama = api()
    last_words()
    params = llama.llama_model_default_params()
    for name, value in settings.items():
        setattr(params, name, value)
    model = llama.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise InputProblem(f"gguf: llama.cpp does not open {path} ({last_words()})")
    return model


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as problem:
        message = (
            f"half a surrogate pair at character {problem.start}, which is no UTF-8; correct the row or the chat"
            " template"
        )
        raise InputProblem(f"gguf: a text holds {message}") from None


class GgufTokenizer:
    """Opens only the vocabulary unless a loaded `model` is given. Close it with `close`."""

    def __init__(
        self,
        path: Path,
        chat_template: str = "model",
        model=None,
        found: dict | None = None,
        thinking: str = "none",
        end_of_turn: str = "",
    ):
        found = found or checked_file(path, scan=False)
        if found["kind"] != "gguf":
            raise InputProblem(f"gguf: {path} is an adapter; give the file of a whole model")
        self._own = None if model else load_gguf(path, vocab_only=True)
        self._vocab = api().llama_model_get_vocab(model or self._own)
        self.chat_template = found["template"]
        llama = api()
        self.eos_token_id, self.bos_token_id = llama.llama_vocab_eos(self._vocab), llama.llama_vocab_bos(self._vocab)
        self.n_tokens = llama.llama_vocab_n_tokens(self._vocab)
        self.adds_bos = bool(llama.llama_vocab_get_add_bos(self._vocab))
        self.unk_token_id, self.unk_token = None, None
        use_template(self, chat_template, thinking)
        self._renderer = None
        if end_of_turn:
            self.turn_end = named_end(self, end_of_turn)
            self.ends |= {self.turn_end}

    @functools.cached_property
    def ends(self) -> frozenset[int]:
        """Every token at which llama.cpp ends a generation."""
        llama = api()
        return frozenset(token for token in range(self.n_tokens) if llama.llama_vocab_is_eog(self._vocab, token))

    @functools.cached_property
    def turn_end(self) -> int | None:
        """The token that closes the assistant's turn."""
        return closing_token(self)

    def is_control(self, token: int) -> bool:
        """Whether a token is no text."""
        return bool(api().llama_vocab_is_control(self._vocab, token))

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int | None]:
        """The id of each control token, None where the text is more than one token."""
        found = [self.tokenize(token) for token in tokens]
        return [ids[0] if len(ids) == 1 else None for ids in found]

    def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        """Token ids, control tokens read as such; `add_special` adds BOS where the file asks for it."""
        llama, data = api(), _utf8(text)
        ids = (ctypes.c_int32 * (len(data) + 8))()
        count = llama.llama_tokenize(self._vocab, data, len(data), ids, len(ids), add_special, True)
        if count < 0:
            raise InputProblem(f"gguf: llama.cpp could not split a text of {len(data)} bytes into tokens")
        return list(ids[:count])

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict:
        return {"input_ids": self.tokenize(text, add_special_tokens)}

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        """Text of token ids, control tokens included."""
        llama, given = api(), (ctypes.c_int32 * len(ids))(*ids)
        size = 16 * len(ids) + 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama.llama_detokenize(self._vocab, given, len(ids), buffer, size, skip_special_tokens, True)
            if count >= 0:
                return buffer.raw[:count].decode(errors="replace")
            size = -count

    def piece(self, token: int) -> str:
        """The text of one token, "" for a token that the file does not have."""
        return self.decode([token]) if token >= 0 else ""

    def render(self, messages: list[dict], add_generation_prompt: bool = True, **mode) -> str:
        """A conversation as text, by the template, in the sandbox; `mode` is told to the template."""
        if self._renderer is None:
            self._renderer = Renderer(self.chat_template, self.piece(self.bos_token_id), self.piece(self.eos_token_id))
        return self._renderer.render(messages, add_generation_prompt, **mode)

    def renew(self) -> None:
        """Lets a new child render where the last broke a limit, for a server whose next request is another's."""
        if self._renderer and self._renderer.child.poll() is not None:
            self._renderer = None

    def apply_chat_template(self, messages, tokenize=True, add_generation_prompt=False, return_dict=False, **mode):
        """As transformers' method of that name, for a single conversation."""
        text = self.render(list(messages), add_generation_prompt, **mode)
        if not tokenize:
            return text
        ids = self.encode_text(text)
        return {"input_ids": ids} if return_dict else ids

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a rendered prompt as a server feeds them: with the file's BOS, but never a second one."""
        bos = self.piece(self.bos_token_id)
        return self.tokenize(text, add_special=self.adds_bos and not (bos and text.startswith(bos)))

    def close(self) -> None:
        """Frees the vocabulary and ends the renderer."""
        if self._renderer:
            self._renderer.close()
        if self._own:
            api().llama_model_free(self._own)
            self._own = None


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
    """What llama.cpp wrote of its last error, or ""; the line with the reason where there is one. Forgets what it
    wrote.
    """
    lines = [line for line in _last if line]
    _last.clear()
    for sign in ("error loading model", "not found", "missing"):
        reasons = [line for line in lines if sign in line]
        if reasons:
            return " ".join(reasons[-1].rpartition("error loading model: ")[2].split())[:LONGEST_LINE]
    return " ".join(lines[-1].split())[:LONGEST_LINE] if lines else ""


def try_load(path: str, is_whole: bool) -> dict:
    """Opens a file as `gguf_tokenizer.load` does, the vocabulary or all of it, and reads one token. For a child
    process: what counts is whether it lives on. `opened` is None where llama.cpp itself is not to be had.
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
