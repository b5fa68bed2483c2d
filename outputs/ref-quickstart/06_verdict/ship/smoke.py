"""Loads the file beside this script with llama-cpp-python and asks it one question.

Exit 0 when the answer is the recorded one."""

import sys
from pathlib import Path

from llama_cpp import Llama

FILE = "model-q4_k_m.gguf"
ASKED = [{"role": "user", "content": "Cron expression for: every-13-hours, mon-fri"}]
EXPECTED = "0 */13 * * 1-5"

model = Llama(str(Path(__file__).with_name(FILE)), n_ctx=512, verbose=False)
settings = {"temperature": 0.0, "max_tokens": 32}
if isinstance(ASKED, str):
    text = model.create_completion(ASKED, **settings)["choices"][0]["text"]
else:
    text = model.create_chat_completion(ASKED, **settings)["choices"][0]["message"]["content"]
print(text)
sys.exit(0 if text.strip() == EXPECTED.strip() else 1)
