"""Figures of rows and inputs. Computes nothing and writes no file."""

from tunebook.plots.canvas import ACCENT, INK, SOFT, WARN, blank


def lengths(totals: list[int], max_length: int):
    """How long the rows are, in tokens, with the cut drawn in."""
    fig, (ax,) = blank(7, 3)
    ax.hist(totals, bins=min(60, max(totals) - min(totals) + 1), color=ACCENT)
    ax.axvline(max_length, color=WARN)
    ax.annotate(f"cut at {max_length}", (max_length, ax.get_ylim()[1]), color=WARN, ha="right", va="top", rotation=90)
    ax.set_xlabel("tokens a row, prompt + completion, template included")
    ax.set_ylabel("rows")
    ax.set_title(f"row lengths, n = {len(totals)}", loc="left", fontsize=10)
    return fig


def coverage(rows: list[dict]):
    """Shares of the training rows and of the test problems in each slice; rows as `data.coverage.cover` gives them."""
    fig, (ax,) = blank(7, 0.5 * len(rows) + 1.2)
    for offset, key, colour, label in ((-0.2, "row", ACCENT, "training rows"), (0.2, "problem", SOFT, "test problems")):
        at = [number + offset for number in range(len(rows))]
        shares = [100 * row[f"{key}_share"] for row in rows]
        ax.barh(at, shares, height=0.36, color=colour, label=f"{label}, n = {sum(row[f'{key}s'] for row in rows)}")
        for y, share, row in zip(at, shares, rows, strict=True):
            ax.annotate(f" {row[f'{key}s']}", (share, y), va="center", fontsize=8, color=INK)
    ax.set_yticks(range(len(rows)), [row["slice"] for row in rows])
    ax.invert_yaxis()
    ax.set_xlabel("share of those that name a slice (%)")
    ax.set_title("slices of the task: what is trained and what is tested", loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    return fig


def moved_words(rows: list[dict]):
    """Share of texts that hold a word, before and now; rows of `statistics.domains.separate`."""
    fig, (ax,) = blank(7, 0.3 * len(rows) + 1)
    for at, row in enumerate(rows):
        ax.plot([100 * row["share_a"], 100 * row["share_b"]], [at, at], color=SOFT)
    at = range(len(rows))
    ax.plot([100 * row["share_a"] for row in rows], at, "o", color=SOFT, label="training prompts")
    ax.plot([100 * row["share_b"] for row in rows], at, "o", color=ACCENT, label="new inputs")
    ax.set_yticks(at, [row["word"][:24].replace("$", r"\$") for row in rows])
    ax.invert_yaxis()
    ax.legend(frameon=False, fontsize=9)
    ax.set_xlabel("texts with the word (%)")
    ax.set_title("words that moved, Fisher's exact test with Holm's correction", loc="left", fontsize=10)
    return fig
