"""The figures: one function a figure, a table goes in and a matplotlib figure comes out.

Does not compute and does not write files.
"""

import math

INK, SOFT, ACCENT, WARN = "#1f2937", "#9ca3af", "#2563eb", "#dc2626"


def scores(rows: list[dict], title: str = ""):
    """Pass@1 in points with the 95% interval, one panel a benchmark; rows as `decision.verdict.score_table` gives
    them.
    """
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


def sweep_scores(rows: list[dict], split: str):
    """Pass@1 in points of every setting of a sweep with its 95% interval; small dots are its trainings."""
    fig, (ax,) = _figure(8, 0.45 * len(rows) + 1.4)
    at = range(len(rows))
    spread = [[r["pass_at_1"] - r["low"] for r in rows], [r["high"] - r["pass_at_1"] for r in rows]]
    ax.errorbar([r["pass_at_1"] for r in rows], at, xerr=spread, fmt="o", color=ACCENT, ecolor=SOFT, capsize=4)
    for place, row in zip(at, rows, strict=True):
        ax.plot([100 * k / row["n"] for k in row["k"]], [place + 0.2] * len(row["k"]), ".", color=INK, ms=4)
    ax.set_yticks(at, [row["values"] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"pass@1 on {split}, n = {rows[0]['n']} (points), 95% interval over problems")
    return fig


def loss(rows: list[dict], n_rows: int):
    """Training loss in nats a token over the steps; rows with `step`, `kind` and `loss`."""
    fig, (ax,) = _figure(7, 3)
    for kind, name, colour in (("texts", "texts of base's own", WARN), ("rows", "rows", ACCENT)):
        part = [row for row in rows if row["kind"] == kind]
        if not part:
            continue
        ax.plot([row["step"] for row in part], [row["loss"] for row in part], color=colour, lw=0.6, alpha=0.25)
        size = -(-len(part) // 40)  # at most forty points, each the mean of the steps around it
        bins = [part[at : at + size] for at in range(0, len(part), size)]
        means = [[sum(row[key] for row in one) / len(one) for one in bins] for key in ("step", "loss")]
        ax.plot(*means, color=colour, label=name)
    ax.legend(frameon=False, fontsize=8)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("loss (nats a trained token)")
    ax.set_title(f"training loss, {n_rows} rows", loc="left", fontsize=10)
    return fig


def rates(rows: list[dict]):
    """Held-out loss of a pilot's learning rates; rows of `training.pilot_rates`."""
    fig, (ax,) = _figure(5, 2.6)
    ax.plot([row["rate"] for row in rows], [row["held_out_loss"] for row in rows], color=SOFT, marker="o", mfc=ACCENT)
    for row in rows:
        ax.annotate(
            "kept" if row["kept"] else "", (row["rate"], row["held_out_loss"]), (0, 6), textcoords="offset points"
        )
    ax.set_xscale("log")
    ax.set_xlabel(f"learning rate ({rows[0]['steps']} steps each)")
    ax.set_ylabel("held-out loss (nats a token)")
    return fig


def checkpoints(rows: list[dict], kept: int, largest_rise: float):
    """Forgetting against the distance from base, and against what was learned; rows of `training.checkpoints`."""
    fig, axes = _figure(9, 3.4, columns=2)
    rises = [row["rise"] for row in rows]
    sides = [([row["kl"] for row in rows], "KL from base (nats a token of the task's answers)")]
    sides += [([100 * row["k"] / row["n"] for row in rows], f"dev problems solved (%), n = {rows[0]['n']}")]
    for ax, (values, label) in zip(axes, sides, strict=True):
        ax.plot(values, rises, color=SOFT, lw=1, zorder=1)
        colours = [ACCENT if row["on_front"] else SOFT for row in rows]
        ax.scatter(values, rises, c=colours, s=[70 if row["step"] == kept else 25 for row in rows], zorder=2)
        for x, y, row in zip(values, rises, rows, strict=True):
            ax.annotate(f"step {row['step']}", (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
        ax.axhline(largest_rise, color=WARN, lw=1, ls="--")
        ax.set_xlabel(label)
        ax.margins(0.15)
    axes[0].set_ylabel("more bits for general text (%)")
    axes[0].set_title(f"forgetting at {len(rows)} checkpoints, kept: step {kept}", loc="left", fontsize=10)
    axes[1].set_title("blue: on the front; dashed: the most allowed", loc="left", fontsize=10)
    return fig


def front(rows: list[dict], kept: str, largest_rise: float, kept_gain: float):
    """Learned against forgotten; rows of `training.measure_front`, base and the given adapter first."""
    fig, axes = _figure(10, 4, columns=2)
    least = 100 * (rows[0]["k"] + kept_gain / 100 * (rows[1]["k"] - rows[0]["k"])) / rows[0]["n"]
    colours = {"base": INK, "given": INK, "scale": SOFT, "replay": WARN, "distil": ACCENT}
    sides = [
        ("rise", "more bits for general text (%)"),
        ("general_kl", "KL from base on general prompts (nats a token)"),
    ]
    for ax, (key, label) in zip(axes, sides, strict=True):
        for row in (row for row in rows if row[key] is not None):
            x, colour = 100 * row["k"] / row["n"], colours[row["point"].partition("-")[0]]
            if key == "rise":
                upper = max(0.0, (row["rise_upper"] or row[key]) - row[key])
                ax.errorbar([x], [row[key]], yerr=[[0.0], [upper]], color=colour, capsize=3)
            ax.plot([x], [row[key]], "o", color=colour, ms=10 if row["point"] == kept else 5)
            ax.annotate(row["point"], (x, row[key]), xytext=(5, 4), textcoords="offset points", fontsize=8)
        ax.axvline(least, color=WARN, lw=1, ls=":")
        ax.set_xlabel(f"dev problems solved (%), n = {rows[0]['n']}")
        ax.set_ylabel(label)
        ax.margins(0.15)
    axes[0].axhline(largest_rise, color=WARN, lw=1, ls="--")
    axes[0].set_title(f"learned and forgotten, kept: {kept}; bars: one-sided 95% bound", loc="left", fontsize=10)
    axes[1].set_title(f"dotted: {kept_gain:g}% of the gain; dashed: the most allowed", loc="left", fontsize=10)
    return fig


def preference(rows: list[dict], n_rows: int):
    """Share of pairs whose chosen answer has the higher reward (KTO has no pairs: its loss), and the margin in nats
    times beta.
    """
    fig, axes = _figure(8, 3, columns=2)
    share = ("rewards/accuracies", 100, "pairs ranked right (%)")
    left = share if any("rewards/accuracies" in row for row in rows) else ("loss", 1, "loss")
    for ax, (key, scale, label) in zip(
        axes, (left, ("rewards/margins", 1, "reward margin (nats × beta)")), strict=True
    ):
        shown = [(row["step"], scale * row[key]) for row in rows if key in row]  # a batch of one label has no margin
        ax.plot([step for step, _ in shown], [value for _, value in shown], color=ACCENT)
        ax.set_ylabel(label)
        ax.set_xlabel("optimiser step")
    if left is share:
        axes[0].set_ylim(0, 102)
    axes[0].set_title(f"preference training, {n_rows} rows", loc="left", fontsize=10)
    return fig


def reward(rows: list[dict], points: list[dict]):
    """The reward of each step, and at each point the reward on rewarded problems beside the truth on sealed ones, in
    percent; bars are 95% intervals.
    """
    fig, (ax,) = _figure(7, 3)
    ax.plot([row["step"] for row in rows], [100 * row["reward"] for row in rows], color=SOFT, label="reward, each step")
    at, truth = [point["step"] for point in points], [100 * point["truth"] for point in points]
    ends = [[100 * end for end in point["truth_interval"]] for point in points]
    spread = [[v - low for v, (low, _) in zip(truth, ends)], [high - v for v, (_, high) in zip(truth, ends)]]
    ax.plot(at, [100 * point["reward"] for point in points], "o--", color=WARN, label="rewarded problems")
    ax.errorbar(at, truth, yerr=spread, fmt="o-", color=ACCENT, capsize=4, label="sealed problems")
    ax.set(xlabel="optimiser step", ylabel="answers that pass (%)", ylim=(0, 102))
    ax.legend(frameon=False)
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


def coverage(rows: list[dict]):
    """Shares of the training rows and of the test problems in each slice; rows as `data.coverage.cover` gives them."""
    fig, (ax,) = _figure(7, 0.5 * len(rows) + 1.2)
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


def ladder(rows: list[dict]):
    """The rungs without training, in points with the 95% interval; rows with `rung, k, n, pass_at_1, low, high`."""
    return scores([{**row, "model": row["rung"], "benchmark": row["benchmark"]} for row in rows])


def effort(rows: list[dict]):
    """Score against what it takes: seconds once and a call, and money where prices are given; rows of
    `decision.effort_rows`. A way whose seconds or price are not known is left out of that panel.
    """
    panels = [("once_seconds", "machine seconds spent once (searching, training)")]
    panels += [("call_seconds", "machine seconds a call, in a full batch")]
    panels += [("once_money", "money spent once"), ("call_money", "money a 1,000 calls")]
    panels = [panel for panel in panels if any(row[panel[0]] is not None for row in rows)]
    fig, axes = _figure(10, 3.6 * ((len(panels) + 1) // 2), rows=(len(panels) + 1) // 2, columns=2)
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


def break_even(rows: list[dict], name: str, missing: list[str]):
    """Calls a day at which an own model is cheaper than a hosted one, over the hosted price; rows of
    `decision.economics.sweep`.
    """
    fig, (ax,) = _figure(8, 4.2)
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
    fig, axes = _figure(10, 3.4, columns=2)
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


def moved_words(rows: list[dict]):
    """Share of texts that hold a word, before and now; rows of `statistics.domains.separate`."""
    fig, (ax,) = _figure(7, 0.3 * len(rows) + 1)
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


def possible_splits(rows: list[dict], usual: dict):
    """Exact McNemar p of every split of gained and lost problems that gives the same two scores."""
    fig, (ax,) = _figure(7, 3.2)
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
