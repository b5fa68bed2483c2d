"""Keys, tokens, passwords and personal data inside rows, and their redaction.

Keys of known services are found by detect-secrets; its guesses by entropy are not used, they cry wolf on code and ids.
Nothing found here is ever repeated in full. Addresses such as user@example.com are documentation, not personal data.
"""

import functools
import re
from collections.abc import Iterator

from tunebook.data.examples import Examples
from tunebook.data.rows import BATCH_ROWS

# Plugin module: class, and a cheap pattern without which it cannot find anything (most rows end there).
PLUGINS = {
    "aws": ("AWSKeyDetector", r"A3T|ABIA|ACCA|AKIA|ASIA|(?i:aws)"),
    "azure_storage_key": ("AzureStorageKeyDetector", r"AccountKey"),
    "basic_auth": ("BasicAuthDetector", r"://[^\s/]{1,80}:[^\s/]+@"),
    "jwt": ("JwtTokenDetector", r"eyJ"),
    "mailchimp": ("MailchimpDetector", r"-us\d"),
    "npm": ("NpmDetector", r"_authToken"),
    "openai": ("OpenAIDetector", r"T3BlbkFJ"),
    "pypi_token": ("PypiTokenDetector", r"pypi-"),
    "sendgrid": ("SendGridDetector", r"SG\."),
    "slack": ("SlackDetector", r"xox|hooks\.slack"),
    "square_oauth": ("SquareOAuthDetector", r"sq0csp"),
    "stripe": ("StripeDetector", r"k_live_"),
    "twilio": ("TwilioKeyDetector", r"(?:AC|SK)[0-9a-z]{32}"),
}
PASSWORD_SIGNS = ("passw", "pwd", "api", "secret", "token", "earer")
OTHER_KEYS = {
    "OpenAI or Anthropic key": ("sk-", r"\bsk-(?:proj-|ant-|svcacct-)?[\w-]*[A-Za-z0-9]{20,}[\w-]*"),
    "Hugging Face token": ("hf_", r"\bhf_[A-Za-z0-9]{30,}\b"),
    "Google key": ("AIza", r"\bAIza[\w-]{35}(?![\w-])"),
    "Google token": ("ya29.", r"\bya29\.[\w-]{30,}"),
    # detect-secrets gives the first letters of these alone
    "GitHub Token": ("gh", r"(?<![A-Za-z0-9])gh[pousr]_\w{36,}"),
    "GitLab Token": ("gl", r"(?<![A-Za-z0-9])gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-[\w-]{20,}"),
    "GitLab runner token": ("GR1348941", r"GR1348941[\w-]{20,}"),
    "GitHub fine-grained token": ("github_pat_", r"\bgithub_pat_\w{40,}"),
    "npm token": ("npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    "PyPI token": ("pypi-AgE", r"\bpypi-AgE[\w-]{40,}"),
    "Groq key": ("gsk_", r"\bgsk_[A-Za-z0-9]{40,}\b"),
    "DigitalOcean token": ("do", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    "Telegram token": (":AA", r"\b\d{8,10}:AA[\w-]{33}(?![\w-])"),
    "Vault or Shopify token": (
        "_",
        r"\b(?:shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|hv[sb]_[\w-]{24,}|lin_api_[A-Za-z0-9]{32,}|r8_[A-Za-z0-9]{37})\b",
    ),
    # with a key under it: a text may name the line
    "private key": (
        "PRIVATE KEY",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?=(?:\s|\\[nr])*(?:Proc-Type|Version|Comment|[A-Za-z0-9+/=]{12})|\s*(?:\n|\\n)\s*(?!YOUR|your|XXX|xxx)[A-Za-z0-9+/=]{4})"
        r"[\s\S]*?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    "PuTTY key": ("PuTTY", r"PuTTY-User-Key-File-\d(?::[\s\S]*?(?:Private-(?:MAC|Hash):\s*[0-9a-fA-F]+|\Z))?"),
}
OTHER_KEYS = {kind: (sign, re.compile(pattern)) for kind, (sign, pattern) in OTHER_KEYS.items()}
# The value after a name that says secret; 20 characters where the name says token only.
PASSWORD = re.compile(
    r"(?:passw(?:or)?d|passwd|pwd|api[_ -]?key|secret(?:[_ -]?access)?(?:[_ -]?key)?|(?:access|auth)[_ -]?token)[\"']?"
    r"\s*(?:=(?!=)|:|\bis\b)\s*[\"'`]?([^\s\"'`,;<>(){}\[\]]{8,})"
    r"|\btoken[\"']?\s*(?:=(?!=)|:)\s*[\"'`]?([\w.~+/-]{20,})|\bbearer\s+([\w.~+/-]{20,})",
    re.I,
)
# "the password is SHA-256-hashed", "the key is base64-encoded": a sentence about the value
IS_SAID = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*-[a-z]{4,}\W*")
MIN_VALUE = 6  # characters from which a value is masked inside words too
DEFAULT_LOGINS = ("guest", "root", "admin", "postgres")
PLACEHOLDER = re.compile(
    r"example|change|your|xxx|placeholder|password|secret|dummy|test|\.\.\.|\*\*\*|^\$|\$[{(]|^user(?:name)?$|^pass$",
    re.I,
)
EMAIL = re.compile(r"(?<![\w.+-])([\w.+-]{1,64})@((?:[a-z0-9-]+\.)+[a-z]{2,24})\b(?!\()", re.I)
# Reserved by RFC 2606 and 6761: nobody can have such an address.
RESERVED_DOMAIN = re.compile(r"(?:.*\.)?(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local)", re.I)
MADE_UP_DOMAIN = re.compile(
    r"(?:.*\.)?(?:test|(?:your|my)?(?:domain|company|email|mail|site|website)|acme|foo|bar)\.\w+", re.I
)
ROLE_USERS = re.compile(
    r"(?:info|admin|administrator|support|help|helpdesk|contact|hello|sales|office|team|press|privacy|security|abuse|jobs"
    r"|billing|feedback|webmaster|postmaster|noreply|no-reply|donotreply|git|root)",
    re.I,
)
GENERIC_USERS = re.compile(
    r"(?:user(?:name)?|name|test|foo|bar|you|me|someone|email|first(?:name)?\.last(?:name)?|(?:john|jane)(?:[._]?(?:doe|smith))?"
    r"|jdoe|customer|client|a|b|x)\d*",
    re.I,
)
CARD = re.compile(
    r"(?<![\w.-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}(["
    r" -])\d{6}\2\d{5})(?!\w|[.-]\d)(?! \d)"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
PHONE = re.compile(
    r"(?<![\w+])\+\d{1,3}[ -](?:\(\d{1,4}\)[ -]?)?\d{1,5}(?:[ -]?\d{2,7}){1,4}(?![\w-])|(?<![\w(])\(\d{3}\)"
    r" ?\d{3}-\d{4}(?![\w-])"
    r"|(?<![\w.-])\d{3}-\d{3}-\d{4}(?![\w-])|(?<![\w+])\+\d{10,14}(?![\w-])"
)
# With a word such as "call" or "Tel." before it, any way to write 8 to 15 digits is a phone number.
PHONE_WORD = re.compile(
    r"\b(?:tel|telephone|telefon|phone|call|mobile|cell|fax|whatsapp|handy)\b(?:"
    r" ?(?:me|him|her|us|no|number|nr|at|on|under|is)\b)*"
    r"[.: #]{0,3}(\+?\(?\d[\d ()./-]{6,20}\d)(?![\w-])",
    re.I,
)
SOCIAL_SECURITY = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")


@functools.cache
def _detectors() -> tuple:
    import importlib

    modules = {name: importlib.import_module(f"detect_secrets.plugins.{name}") for name in PLUGINS}
    return tuple((re.compile(sign), getattr(modules[name], plugin)()) for name, (plugin, sign) in PLUGINS.items())


def find_secrets(examples: Examples) -> None:
    """Note rows with secrets (error) and with personal data (warning), in any field, rows that cannot be trained
    included.

    The detail names the kind and shows no value.
    """
    places = zip(examples.rows, examples.rows.places(), strict=True)
    for position, (raw, place) in enumerate(places):
        if examples.progress and position % BATCH_ROWS == 0:
            examples.progress(position, len(examples.rows), "secrets")
        text = "\n".join(_strings(raw))
        for check, find in (("secrets", secret_spans), ("personal_data", personal_spans)):
            spans = find(text)
            if spans:
                kinds = sorted({kind for _, _, kind in spans})
                start, end, _ = spans[0]
                examples.notes.add(check, *place, f"{', '.join(kinds)}: {mask(text[start:end])}")


def _strings(value) -> Iterator[str]:
    """All texts of a raw row, in every field and turn."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def secret_spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of every key, token or password in the text."""
    spans = []
    for needed, detector in _detectors():
        if needed.search(text):
            values = {value for line in text.split("\n") for value in detector.analyze_string(line)}
            real = [value for value in values if _is_real(value, detector)]
            spans += [span for value in real for span in _spans(text, value, detector.secret_type)]
    for kind, (sign, pattern) in OTHER_KEYS.items():
        if sign in text:
            spans += [(*match.span(), kind) for match in pattern.finditer(text)]
    lower = text.lower()
    for match in PASSWORD.finditer(text) if any(sign in lower for sign in PASSWORD_SIGNS) else ():
        value = match.group(match.lastindex)
        is_mixed = re.search(r"\d", value) and re.search(r"[A-Za-z]", value)
        is_said = re.search(r"\bis\s*$", text[: match.start(match.lastindex)]) and IS_SAID.fullmatch(value)
        if is_mixed and not is_said and not PLACEHOLDER.search(value) and "." not in value.rstrip("."):
            spans += _spans(text, value, "password or key")
    return sorted(set(spans))


def _spans(text: str, value: str, kind: str) -> list[tuple[int, int, str]]:
    """Every place of a value; a short one may be a part of any word, so it stands alone."""
    pattern = re.escape(value) if len(value) >= MIN_VALUE else rf"(?<!\w){re.escape(value)}(?!\w)"
    return [(*match.span(), kind) for match in re.finditer(pattern, text)]


def _is_real(value: str, detector) -> bool:
    """Placeholders and default logins such as user:password@ and guest:guest@ in an address are documentation."""
    is_login = type(detector).__name__ == "BasicAuthDetector"
    return not is_login or not (PLACEHOLDER.search(value) or value in DEFAULT_LOGINS)


def personal_spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of every e-mail address, card number (Luhn), IBAN (mod 97), phone and US social security
    number.
    """
    spans = []
    if "@" in text:
        for match in EMAIL.finditer(text):
            is_login = re.search(r"://\S*$", text[max(0, match.start() - 100) : match.start()])
            if not is_login and not _is_nobody(*match.groups()):
                spans.append((*match.span(), "e-mail address"))
    if re.search(r"\d{2}", text):
        spans += [(*m.span(), "card number") for m in CARD.finditer(text) if is_card(m.group())]
        spans += [(*m.span(), "bank account (IBAN)") for m in IBAN.finditer(text) if is_iban(m.group())]
        phones = [m.span() for m in PHONE.finditer(text)]
        words = [m.span(1) for m in PHONE_WORD.finditer(text) if 8 <= sum(map(str.isdigit, m.group(1))) <= 15]
        phones += [(a, b) for a, b in words if all(b <= c or d <= a for c, d in phones)]
        spans += [(a, b, "phone number") for a, b in phones]
        spans += [(*m.span(), "social security number") for m in SOCIAL_SECURITY.finditer(text)]
    return sorted(spans)


def _is_nobody(user: str, domain: str) -> bool:
    """True for addresses that documentation uses, and for those of an office rather than a person."""
    if RESERVED_DOMAIN.fullmatch(domain) or ROLE_USERS.fullmatch(user):
        return True
    return bool(MADE_UP_DOMAIN.fullmatch(domain) and GENERIC_USERS.fullmatch(user))


def is_card(number: str) -> bool:
    """A card number of the large networks with a right check digit (Luhn)."""
    digits = [int(sign) for sign in number if sign.isdigit()]
    text = "".join(map(str, digits))
    if (
        not re.match(r"4|5[1-5]|2[2-7]|3[47]|6(?:011|5)", text)
        or len(digits) not in (15, 16, 19)  # 13 are the digits of a barcode
        or len(set(digits)) < 2
    ):
        return False
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """An IBAN with right check digits (ISO 13616, remainder 1 by 97)."""
    text = text.replace(" ", "")
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def mask(value: str) -> str:
    """The first characters and a dash of stars: enough to find it, too little to use it."""
    return value[: min(4, len(value) // 4)] + "****"


def redact(text: str) -> str:
    """The text with every secret and every piece of personal data masked."""
    parts, done = [], 0
    for start, end, _ in sorted(secret_spans(text) + personal_spans(text)):
        if end > done:  # one span may lie inside another
            start = max(start, done)
            parts += [text[done:start], mask(text[start:end])]
            done = end
    return "".join(parts) + text[done:]


def redact_record(value):
    """A JSON value with all its texts redacted: for rejects.jsonl and for rows that are shown."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_record(item) for key, item in value.items()}
    return [redact_record(item) for item in value] if isinstance(value, list) else value
