"""The pieces of report.html: escaped text, links, tables and figures. Everything that is shown goes through `esc`."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from urllib.parse import quote

LONG = 40  # characters from which a cell holds a sentence


def esc(value) -> str:
    """Any value as text that HTML shows as it is; control characters become visible."""
    if isinstance(value, float):
        value = f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    text = "" if value is None else str(value)
    return html.escape("".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text))


def link(text, path: str) -> str:
    """`text` linked to a file of the run, plain where the file is not known."""
    return f'<a href="{quote(path, safe="/@")}">{esc(text)}</a>' if path else esc(text)


def table(caption: str, rows: list[dict], columns: tuple, source_of) -> str:
    """Rows as a table; the numbers of a row link to its source. Nothing where there is no row."""
    if not rows:
        return ""
    names = [name for name in columns if any(row.get(name) not in ("", None) for row in rows)]
    head = "".join(f"<th>{esc(name.replace('_', ' '))}</th>" for name in names)
    lines = []
    for row in rows:
        cells, is_linked = [], False
        for name in names:
            value = row.get(name)
            value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            is_number = isinstance(value, int | float) or (
                isinstance(value, str) and value[:1] in "+-0123456789[" and value != ""
            )
            shown = link(value, source_of(row)) if is_number else esc(value)
            is_linked = is_linked or is_number
            label = esc(name.replace("_", " "))
            kind = (
                " class=text" if isinstance(value, str) and len(value) > LONG else " class=number" if is_number else ""
            )
            cells.append(f'<td data-label="{label}"{kind}>{shown}</td>')
        path = source_of(row)
        if path and not is_linked:
            cells[0] = cells[0].replace("</td>", f" {link('file', path)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=table><table><caption>{esc(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def figure(path: Path, name: str, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{esc(caption)}" src="data:image/png;base64,{data}"><figcaption>{link(caption, name)}</figcaption></figure>'


def pictures(shown: dict[str, str], name: str) -> str:
    return "\n".join(text for path, text in shown.items() if Path(path).stem == name)
