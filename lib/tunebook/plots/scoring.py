"""Figures of what was scored, asked and exported. Computes nothing and writes no file."""

from tunebook.plots.canvas import ACCENT, INK, SOFT, WARN, blank


def scores(rows: list[dict], title: str = ""):
    """Pass@1 in points with the 95% interval, one panel a benchmark; rows as `decision.verdict.score_table` gives
    them.
    """
    names = list(dict.fromkeys(row["benchmark"] for row in rows))
    fig, axes = blank(8, 0.45 * len(rows) + 1.2 * len(names) + 0.4, rows=len(names))
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


def labelled(rows: list[dict]):
    """Right answers by judge and labels, by the labels alone and by the judge alone, in points; rows of
    `decision.label_estimates`. A change between two models stands in the lower panel.
    """
    parts = [[row for row in rows if ("→" in row["what"]) == is_change] for is_change in (False, True)]
    parts = [part for part in parts if part]
    fig, axes = blank(8, 0.6 * len(rows) + 1.3 * len(parts), rows=len(parts))
    ways = [("estimate", "interval", ACCENT, "judge and labels"), ("labels", "labels_interval", SOFT, "labels alone")]
    for ax, part in zip(axes, parts, strict=True):
        at = range(len(part))
        for shift, (key, ends, colour, name) in zip((-0.12, 0.12), ways, strict=True):
            spread = [[100 * (r[key] - r[ends][0]) for r in part], [100 * (r[ends][1] - r[key]) for r in part]]
            places = [place + shift for place in at]
            values = [100 * r[key] for r in part]
            ax.errorbar(values, places, xerr=spread, fmt="o", color=colour, capsize=4, label=f"{name}, 95%")
        ax.plot([100 * r["judge"] for r in part], at, "x", color=WARN, label="judge alone")
        ax.set_yticks(at, [r["what"] for r in part])
        ax.set_ylim(len(part) - 0.5, -0.5)
        what = "the change" if "→" in part[0]["what"] else "right answers"
        ax.set_title(f"{what}, {part[0]['n']} of {part[0]['n_all']} problems labelled", loc="left", fontsize=10)
    if "→" in rows[-1]["what"]:
        axes[-1].axvline(0, color=INK, lw=1)
    axes[0].legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("points")
    return fig


def sweep_scores(rows: list[dict], split: str):
    """Pass@1 in points of every setting of a sweep with its 95% interval; small dots are its trainings."""
    fig, (ax,) = blank(8, 0.45 * len(rows) + 1.4)
    at = range(len(rows))
    spread = [[r["pass_at_1"] - r["low"] for r in rows], [r["high"] - r["pass_at_1"] for r in rows]]
    ax.errorbar([r["pass_at_1"] for r in rows], at, xerr=spread, fmt="o", color=ACCENT, ecolor=SOFT, capsize=4)
    for place, row in zip(at, rows, strict=True):
        ax.plot([100 * k / row["n"] for k in row["k"]], [place + 0.2] * len(row["k"]), ".", color=INK, ms=4)
    ax.set_yticks(at, [row["values"] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"pass@1 on {split}, n = {rows[0]['n']} (points), 95% interval over problems")
    return fig


def ladder(rows: list[dict]):
    """The rungs without training, in points with the 95% interval; rows with `rung, k, n, pass_at_1, low, high`."""
    return scores([{**row, "model": row["rung"], "benchmark": row["benchmark"]} for row in rows])


def taxonomy(counts: dict[str, int], name: str):
    """How many completions ended in which way."""
    fig, (ax,) = blank(7, 0.35 * len(counts) + 1)
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
    fig, (ax, speed) = blank(10, 3.6, columns=2)
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


def possible_splits(rows: list[dict], usual: dict):
    """Exact McNemar p of every split of gained and lost problems that gives the same two scores."""
    fig, (ax,) = blank(7, 3.2)
    ax.plot([row["lost"] for row in rows], [row["p_exact"] for row in rows], color=ACCENT)
    ax.axhline(0.05, color=WARN, linewidth=1)
    ax.annotate("0.05", (rows[-1]["lost"], 0.05), color=WARN, ha="right", va="bottom")
    ax.plot([usual["lost"]], [usual["p_exact"]], "o", color=INK)
    ax.annotate(f"  usual: {usual['gained']} gained, {usual['lost']} lost", (usual["lost"], usual["p_exact"]), va="top")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("problems lost (gained = lost + the difference)")
    ax.set_ylabel("exact McNemar p")
    ax.set_title(f"every way to the same two scores, n = {rows[0]['n']}", loc="left", fontsize=10)
    return fig


def growth(trainings: list[tuple[int, int, int]], tried: list[dict], following: dict):
    """Score against rows: every training (rows, solved, problems), what smaller sizes predicted of each larger one (90%
    interval), and the prediction of the next one.
    """
    fig, (ax,) = blank(7, 4)
    ax.plot([rows for rows, _, _ in trainings], [100 * k / n for _, k, n in trainings], "o", color=ACCENT, ms=5)
    for row in [*tried, following]:
        bounds = [[row["predicted"] - row["low"]], [row["high"] - row["predicted"]]]
        ax.errorbar([row["rows"]], [row["predicted"]], yerr=bounds, fmt="_", color=WARN, capsize=4)
    ax.set_xscale("log")
    ticks = sorted({row["rows"] for row in [*tried, following]} | {rows for rows, _, _ in trainings})
    ax.set_xticks(ticks, [f"{rows:,}" for rows in ticks])
    ax.set_xlabel("training rows (logarithmic)")
    ax.set_ylabel(f"dev problems solved (%), n = {trainings[0][2]}")
    ax.set_title("dots: trainings; bars: predicted from smaller sizes alone, 90%", loc="left", fontsize=10)
    return fig
