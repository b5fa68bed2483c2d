"""The figures: one function a figure, a table goes in and a matplotlib figure comes out.

Does not compute and does not write files.
"""

from __future__ import annotations

INK, SOFT, ACCENT, WARN = "#1f2937", "#9ca3af", "#2563eb", "#dc2626"


def scores(rows: list[dict], title: str = ""):
    """Pass@1 in points with the 95% interval, one panel a benchmark; rows as `decision.verdict.score_table` gives them."""
    names = list(dict.fromkeys(row["benchmark"] for row in rows))
    fig, axes = _figure(8, 0.45 * len(rows) + 1.2 * len(names) + 0.4, rows=len(names))
    for ax, name in zip(axes, names, strict=True):
        part = [row for row in rows if row["benchmark"] == name]
        at = range(len(part))
        spread = [[r["pass_at_1"] - r["low"] for r in part], [r["high"] - r["pass_at_1"] for r in part]]
        ax.errorbar([r["pass_at_1"] for r in part], at, xerr=spread, fmt="o", color=ACCENT, ecolor=SOFT, capsize=4)
        ax.set_yticks(at, [f"{r['model']}  {r['k']}/{r['n']}" for r in part])
        ax.set_ylim(len(part) - 0.5, -0.5)
        ax.set_xlim(-2, 102)
        ax.set_title(f"{name}: problems solved at the first sample, n = {part[0]['n']}", loc="left", fontsize=10)
    axes[-1].set_xlabel("pass@1 (points), 95% Wilson interval")
    if title:
        fig.suptitle(title)
    return fig


def loss(rows: list[dict], n_rows: int):
    """Training loss in nats a token over the steps; rows with `step` and `loss`."""
    fig, (ax,) = _figure(7, 3)
    ax.plot([row["step"] for row in rows], [row["loss"] for row in rows], color=ACCENT)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("loss (nats a trained token)")
    ax.set_title(f"training loss, {n_rows} rows", loc="left", fontsize=10)
    return fig


def preference(rows: list[dict], n_pairs: int):
    """Share of pairs whose chosen answer has the higher reward, and the margin between them in nats."""
    fig, axes = _figure(8, 3, columns=2)
    steps = [row["step"] for row in rows]
    axes[0].plot(steps, [100 * row["rewards/accuracies"] for row in rows], color=ACCENT)
    axes[0].set_ylim(0, 102)
    axes[0].set_ylabel("pairs ranked right (%)")
    axes[1].plot(steps, [row["rewards/margins"] for row in rows], color=ACCENT)
    axes[1].set_ylabel("reward margin (nats × beta)")
    for ax in axes:
        ax.set_xlabel("optimiser step")
    axes[0].set_title(f"preference training, {n_pairs} pairs", loc="left", fontsize=10)
    return fig


def lengths(totals: list[int], max_length: int):
    """How long the rows are, in tokens, with the cut drawn in."""
    fig, (ax,) = _figure(7, 3)
    ax.hist(totals, bins=min(60, max(totals) - min(totals) + 1), color=ACCENT)
    ax.axvline(max_length, color=WARN)
    ax.annotate(f"cut at {max_length}", (max_length, ax.get_ylim()[1]), color=WARN, ha="right", va="top", rotation=90)
    ax.set_xlabel("tokens a row, prompt + completion, template included")
    ax.set_ylabel("rows")
    ax.set_title(f"row lengths, n = {len(totals)}", loc="left", fontsize=10)
    return fig


def ladder(rows: list[dict]):
    """The rungs without training, in points with the 95% interval; rows with `rung, k, n, pass_at_1, low, high`."""
    return scores([{**row, "model": row["rung"], "benchmark": row["benchmark"]} for row in rows])


def taxonomy(counts: dict[str, int], name: str):
    """How many completions ended in which way."""
    fig, (ax,) = _figure(7, 0.35 * len(counts) + 1)
    ax.barh(list(counts), list(counts.values()), color=[ACCENT if kind == "pass" else SOFT for kind in counts])
    ax.invert_yaxis()
    for at, count in enumerate(counts.values()):
        ax.annotate(f" {count}", (count, at), va="center", color=INK)
    ax.set_xlabel("completions")
    ax.set_title(f"{name}: how {sum(counts.values())} completions ended", loc="left", fontsize=10)
    return fig


def sizes(rows: list[dict]):
    """Score on dev against file size, and speed beside it, one point a type.

    Rows with `type, bytes, pass_at_1, low, high` (points and bytes) and `decode_1, decode_8` (tokens a second).
    """
    fig, (ax, speed) = _figure(10, 3.6, columns=2)
    for row in rows:
        x, y = row["bytes"] / 1e6, row["pass_at_1"]
        spread = [[y - row["low"]], [row["high"] - y]]
        ax.errorbar([x], [y], yerr=spread, fmt="o", color=ACCENT if row.get("chosen") else SOFT, ecolor=SOFT, capsize=4)
        ax.annotate(f"  {row['type']}" + (" (ships)" if row.get("chosen") else ""), (x, y), color=INK)
    ax.set_xlim(left=0)
    ax.margins(x=0.2)
    ax.set_xlabel("file size (MB)")
    ax.set_ylabel("pass@1 on dev (points)")
    ax.set_title(f"size and score, n = {rows[0]['n']}, 95% Wilson interval", loc="left", fontsize=10)
    for key, label, colour in (("decode_1", "1 sequence", SOFT), ("decode_8", "8 sequences", ACCENT)):
        speed.plot([row[key] for row in rows], range(len(rows)), "o", color=colour, label=label)
    speed.set_yticks(range(len(rows)), [row["type"] for row in rows])
    speed.set_ylim(len(rows) - 0.5, -0.5)
    speed.set_xlim(left=0)
    speed.set_xlabel("decoded tokens a second, on this machine")
    speed.set_title("speed, one measurement", loc="left", fontsize=10)
    speed.legend(frameon=False, fontsize=8)
    return fig


def _figure(width: float, height: float, rows: int = 1, columns: int = 1):
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="x", color="#e5e7eb", linewidth=0.6)
        ax.set_axisbelow(True)
    return fig, axes
