"""llama.cpp's converter for vocabularies that it cannot know: a process that imports it once and forks for every
folder.

The converter recognises a byte-level BPE by the hash of one encoded text and refuses all others, and the hash depends
on the ids, so no tiny vocabulary can have a known one. Here that one function returns the name that llama.cpp has for
the published family, and nothing else is replaced; whether llama.cpp splits as this name says is what the comparison of
token ids then shows. Reads lines of JSON, {"pre": name, "words": [...]}, and answers "0" or the last line of what the
converter said.
"""

import json
import os
import sys
import tempfile


def main(script: str) -> None:
    import runpy

    import conversion  # noqa: F401
    from conversion import base

    run = runpy.run_path(script)

    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile("w+") as said:
            child = os.fork()
            if child == 0:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                if request["pre"]:
                    base.TextModel.get_vocab_base_pre = lambda self, tokenizer, pre=request["pre"]: pre
                status, (mode, *words) = 1, request["words"]
                try:
                    run[mode](*words)
                    status = 0
                except SystemExit as end:
                    status = end.code if isinstance(end.code, int) else int(bool(end.code))
                except BaseException:
                    import traceback

                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            _, status = os.waitpid(child, 0)
            said.seek(0)
            lines = said.read().strip().splitlines() or ["no message"]
        print(
            json.dumps({"code": os.waitstatus_to_exitcode(status), "said": lines[-1], "all": lines[-14:]}), flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1])
