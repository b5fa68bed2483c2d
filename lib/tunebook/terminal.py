"""What commands print: columns, findings as paragraphs, and text from files without control characters."""

import textwrap

WIDTH = 92  # of a paragraph, which is indented by 7
SHOWN = 8  # row numbers of a finding


def aligned(rows: list) -> str:
    """Columns of text, two spaces apart; of dicts with their names as the first line."""
    from tabulate import tabulate

    headers = "keys" if isinstance(rows[0], dict) else ()
    table = tabulate(rows, headers, tablefmt="plain", disable_numparse=True, preserve_whitespace=True)
    return "\n".join(line.rstrip() for line in table.split("\n"))


def escaped(text: str) -> str:
    """Text without control characters, so that a name cannot steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def counted(findings: list[dict]) -> str:
    """How many errors and warnings there are, as text."""
    errors, warnings = (sum(item["severity"] == severity for item in findings) for severity in ("error", "warn"))
    return f"{errors} errors, {warnings} warnings"


def paragraphs(findings: list[dict]) -> list[str]:
    """The lines of one paragraph a finding, in their JSON form, each after an empty line."""
    lines = []
    for item in findings:
        lines += ["", f"{item['severity']:5s}  {item['check']}"]
        lines += textwrap.wrap(escaped(item["message"]), WIDTH, initial_indent=" " * 7, subsequent_indent=" " * 7)
        if len(item["rows"]) > 1:
            more = " ..." if item["count"] > SHOWN else ""
            lines.append(f"       rows: {', '.join(map(str, item['rows'][:SHOWN]))}{more}")
        lines.append(f"       what to do: {escaped(item['fix'])}")
    return lines
