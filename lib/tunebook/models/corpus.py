"""Strings on which two tokenizers are compared: digits, code, white space, scripts, emoji, marks, control tokens."""

import random
import unicodedata
from pathlib import Path

WORDS = "every weekday at noon from Monday to Friday the quick brown fox don't you've I'll naïve façade Straße".split()
SCRIPTS = {
    "latin": "àéîõüßøåçñŁşğ", "greek": "αβγδεζηθικλμ", "cyrillic": "абвгдежзийкл", "cjk": "日本語中文字漢한국어かな",
    "right-to-left": "שלוםעולםمرحباالعالم", "devanagari": "नमस्तेदुनिया", "thai": "สวัสดีชาวโลก",
}  # fmt: skip
EMOJI = ("👩‍💻", "🚀", "👍🏽", "🇫🇷", "❤️", "🏳️‍🌈", "1️⃣", "😀😀")
MARKS = "\u0300\u0301\u0308\u0327\u0323\u200d\u200b\u200e\u200f\u2060\ufeff\u00ad"
CODE = (
    "def f(x):\n    return x ** 2  # {}", "for (int i = 0; i < {}; ++i) {{ a[i] += 1; }}",
    "SELECT * FROM t WHERE id = {};",
    "\tif x>={}:\n\t\tpass\r\n", "<div class=\"a-{}\">&nbsp;</div>", "{} 9 * * 1-5", "path\\to\\file_{}.txt",
    "{{'a': [{}, None]}}",
)  # fmt: skip
CONTROL = (
    "<|im_end|>",
    "<|im_start|>user\n",
    "<s>",
    "</s>",
    "<|endoftext|>",
    "[INST]",
    "<think>",
    "<|",
    "|>",
    "<0x0A>",
)
SPACES = (" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u3000", "\u2003", "\x0b", "\x0c", "\x85")


def strings(seed: int, count: int = 2000) -> list[str]:
    """`count` strings of every kind below in turn; the same for the same seed.

    >>> strings(0, 20) == strings(0, 20)
    True
    """
    rng = random.Random(f"corpus/{seed}")
    makers = (_digits, _code, _spaces, _emoji, _marks, _scripts, _control, _words, _symbols, _long)
    return [makers[at % len(makers)](rng) for at in range(count)]


def _digits(rng) -> str:
    number = str(rng.randrange(10 ** rng.randrange(1, 25)))
    return rng.choice(
        (number, f"{int(number):,}", f"-{number}.{rng.randrange(1000):03d}e{rng.randrange(-20, 20)}", f"{number}%")
    )


def _code(rng) -> str:
    return rng.choice(CODE).format(rng.randrange(1000))


def _spaces(rng) -> str:
    return "".join(rng.choice(SPACES) + rng.choice((*WORDS, "", "1")) for _ in range(rng.randrange(1, 8))) + rng.choice(
        SPACES
    )


def _emoji(rng) -> str:
    return rng.choice(("", " ", "ok ")).join(rng.choice(EMOJI) for _ in range(rng.randrange(1, 6)))


def _marks(rng) -> str:
    text = "".join(rng.choice("aeiouyn") + rng.choice(MARKS) * rng.randrange(3) for _ in range(rng.randrange(1, 9)))
    return unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKC")), text)


def _scripts(rng) -> str:
    letters = rng.choice(list(SCRIPTS.values()))
    return " ".join(
        "".join(rng.choice(letters) for _ in range(rng.randrange(1, 8))) for _ in range(rng.randrange(1, 5))
    )


def _control(rng) -> str:
    return "".join(rng.choice((*CONTROL, *WORDS, " ")) for _ in range(rng.randrange(1, 6)))


def _words(rng) -> str:
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 20)))
    return rng.choice((text, text.upper(), text.title(), text.swapcase() + "!?"))


def _symbols(rng) -> str:
    """Any assigned character, the rare planes included; no surrogates and no NUL, which no prompt has."""
    ranges = ((1, 0x7F), (0x80, 0x2FF), (0x2000, 0x2BFF), (0x3000, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x1FFFF))
    return "".join(chr(rng.randint(*rng.choice(ranges))) for _ in range(rng.randrange(1, 12)))


def _long(rng) -> str:
    return rng.choice(
        (rng.choice("ax0 \n=é") * rng.randrange(50, 400), " ".join(rng.choice(WORDS) for _ in range(300)))
    )


def check_pieces(tokenizer, file: Path, n: int) -> None:
    """ValueError where `tokenizer`, which transformers made of a SentencePiece file alone, reads most of `n` strings
    otherwise than SentencePiece does: it takes no notice of some of the file's settings, such as the first space.
    """
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(file))
    texts = [text for text in strings(0, n) if not set("<[") & set(text)]
    apart = [text for text in texts if tokenizer.encode(text, add_special_tokens=False) != pieces.encode(text)]
    if len(apart) * 2 > len(texts):
        raise ValueError(
            f"transformers reads {len(apart)} of {len(texts)} strings otherwise than {file.name}, which the model was"
            f" trained with, such as {min(apart, key=len)!r}"
        )
