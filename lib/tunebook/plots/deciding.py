"""Figures of what it costs and who answers. Computes nothing and writes no file."""

import math

from tunebook.plots.canvas import ACCENT, INK, SOFT, WARN, blank


def effort(rows: list[dict]):
    """Score against what it takes: seconds once and a call, and money where prices are given; rows of
    `decision.effort_rows`. A way whose seconds or price are not known is left out of that panel.
    """
    panels = [("once_seconds", "machine seconds spent once (searching, training)")]
    panels += [("call_seconds", "machine seconds a call, in a full batch")]
    panels += [("once_money", "money spent once"), ("call_money", "money a 1,000 calls")]
    panels = [panel for panel in panels if any(row[panel[0]] is not None for row in rows)]
    fig, axes = blank(10, 3.6 * ((len(panels) + 1) // 2), rows=(len(panels) + 1) // 2, columns=2)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for ax, (key, label) in zip(axes, panels, strict=False):
        shown = sorted((row for row in rows if row[key] is not None), key=lambda row: row["score"])
        least, height = min((row[key] for row in shown if row[key]), default=1.0), -10.0
        for row in shown:
            colour = ACCENT if row["kind"] == "training" else WARN if row["name"] == "searched" else INK
            spread = [[row["score"] - row["low"]], [row["high"] - row["score"]]]
            ax.errorbar([row[key]], [row["score"]], yerr=spread, fmt="o", color=colour, ecolor=SOFT, capsize=3)
            height = max(row["score"], height + 5.5)  # names stand apart, each with a line to its point
            where = {"xytext": (22, height), "textcoords": ("offset points", "data"), "va": "center"}
            line = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6}
            ax.annotate(row["name"], (row[key], row["score"]), **where, arrowprops=line, fontsize=8, color=colour)
        ax.set_xscale("symlog", linthresh=least)
        ax.set_xlim(left=-0.1 * least)
        ax.set_ylim(-4, 112)
        ax.set_yticks(range(0, 101, 20))
        ax.margins(x=0.25)
        ax.set_xlabel(label)
        ax.set_ylabel("pass@1 (points), 95% interval")
    axes[0].set_title(f"score and its price, n = {rows[0]['n']}; blue: trained", loc="left", fontsize=10)
    return fig


def break_even(rows: list[dict], name: str, missing: list[str]):
    """Calls a day at which an own model is cheaper than a hosted one, over the hosted price; rows of
    `decision.economics.sweep`.
    """
    fig, (ax,) = blank(8, 4.2)
    hours = list(dict.fromkeys(row["machine_hour"] for row in rows))
    for kind, colour, style in (("own", ACCENT, "-"), ("cascade", WARN, "--")):
        for width, hour in enumerate(hours, start=1):
            part = [row for row in rows if (row["kind"], row["machine_hour"]) == (kind, hour) and row["calls_a_day"]]
            at, y = [row["price"] for row in part], [row["calls_a_day"] for row in part]
            words = {"own": "own model alone", "cascade": "its failures go to the hosted model"}[kind]
            ax.plot(at, y, style, color=colour, linewidth=0.8 * width, label=f"{words}, machine at {hour:g} an hour")
            ends = [(row["low"] or row["calls_a_day"], row["high"] or row["calls_a_day"]) for row in part]
            ax.fill_between(
                at, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.2, linewidth=0
            )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=8)
    ax.set_xlabel("hosted price (currency a million tokens, in and out alike)")
    ax.set_ylabel("calls a day at break-even")
    unit = (
        "each 100 a month of fixed cost"
        if "staff_hours" in missing or "price_staff_hour" in missing
        else "the fixed costs"
    )
    ax.set_title(f"{name}: calls a day that pay for {unit}, 95% band", loc="left", fontsize=10)
    return fig


def cascade(rows: list[dict], chosen: float | None, risk: float):
    """Wrong answers among those that stay local, and how many stay, against the threshold of confidence; rows of
    `decision.build_cascade`, `chosen` the log-probability (None: no line).
    """
    fig, axes = blank(10, 3.4, columns=2)
    at = [math.exp(row["threshold"]) if row["threshold"] is not None else 0.0 for row in rows]
    wrong, share = axes
    wrong.plot(at, [100 * row["wrong"] for row in rows], color=ACCENT, label="dev")
    wrong.plot(at, [100 * row["upper"] for row in rows], "--", color=ACCENT, lw=1, label="dev, 95% bound of each")
    tested = [(x, row) for x, row in zip(at, rows, strict=True) if row["test_wrong"] is not None]
    wrong.plot([x for x, _ in tested], [100 * row["test_wrong"] for _, row in tested], color=INK, label="test")
    wrong.axhline(100 * risk, color=WARN, lw=1, ls="--")
    wrong.set_ylim(0, min(100, 100 * max(4 * risk, *(row["wrong"] for row in rows))))
    wrong.set_ylabel("wrong among those that stay (%)")
    wrong.set_title(f"red: at most {100 * risk:g}%; vertical: the threshold", loc="left", fontsize=10)
    share.plot(at, [100 * row["share"] for row in rows], color=ACCENT, label="dev")
    share.plot(at, [100 * row["test_share"] for row in rows], color=INK, label="test")
    share.set_ylim(0, 102)
    share.set_ylabel("answers that stay local (%)")
    for ax in axes:
        if chosen is not None:
            ax.axvline(math.exp(chosen), color=SOFT, lw=1)
        ax.set_xlabel("stays where the answer's probability is above")
        ax.legend(frameon=False, fontsize=8)
    return fig


def groups(rows: list[dict]):
    """What each group of rows adds, with simultaneous intervals; rows of `statistics.group_advice`. One without an
    effect has no mark.
    """
    fig, (ax,) = blank(8, 1.4 + 0.45 * len(rows))
    colours, marks = {"hurts": WARN, "helps": ACCENT}, []
    for at, row in enumerate(reversed(rows)):
        if row["effect"] is not None:
            colour, reach = (
                colours.get(row["verdict"], INK),
                [[row["effect"] - row["low"]], [row["high"] - row["effect"]]],
            )
            ax.errorbar([row["effect"]], [at], xerr=reach, fmt="o", color=colour, ecolor=colour, capsize=3)
        if row["own"] is not None:
            marks.append(ax.scatter([row["own"]], [at], marker="D", facecolors="none", edgecolors=SOFT))
    ax.axvline(0, color=SOFT, lw=1)
    ax.set_yticks(range(len(rows)), [f"{row['group']} ({row['rows']} rows)" for row in reversed(rows)])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel("change of a right answer's cost on dev rows of other groups (nats)")
    own = "; grey: on its own dev rows" if marks else ""
    ax.set_title(
        f"right of 0 hurts (red), left helps (blue); intervals hold for all groups at once{own}", loc="left", fontsize=9
    )
    return fig
