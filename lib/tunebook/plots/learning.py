"""Figures of a training on its way, and what it learned against what it forgot. Computes nothing and writes no file."""

from tunebook.plots.canvas import ACCENT, INK, SOFT, WARN, blank


def loss(rows: list[dict], n_rows: int):
    """Training loss in nats a token over the steps; rows with `step`, `kind` and `loss`."""
    fig, (ax,) = blank(7, 3)
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
    fig, (ax,) = blank(5, 2.6)
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
    fig, axes = blank(9, 3.4, columns=2)
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
    fig, axes = blank(10, 4, columns=2)
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
    fig, axes = blank(8, 3, columns=2)
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
    fig, (ax,) = blank(7, 3)
    ax.plot([row["step"] for row in rows], [100 * row["reward"] for row in rows], color=SOFT, label="reward, each step")
    at, truth = [point["step"] for point in points], [100 * point["truth"] for point in points]
    ends = [[100 * end for end in point["truth_interval"]] for point in points]
    spread = [[v - low for v, (low, _) in zip(truth, ends)], [high - v for v, (_, high) in zip(truth, ends)]]
    ax.plot(at, [100 * point["reward"] for point in points], "o--", color=WARN, label="rewarded problems")
    ax.errorbar(at, truth, yerr=spread, fmt="o-", color=ACCENT, capsize=4, label="sealed problems")
    ax.set(xlabel="optimiser step", ylabel="answers that pass (%)", ylim=(0, 102))
    ax.legend(frameon=False)
    return fig


def razor(points: list[tuple[str, float, float]], law: dict):
    """Forgetting against the distance from base, a colour a kind of training, with the curve through the origin."""
    fig, (ax,) = blank(7, 4)
    kinds = list(dict.fromkeys(kind for kind, _, _ in points))
    for at, kind in enumerate(kinds):
        part = [(x, y) for name, x, y in points if name == kind]
        ax.plot(*zip(*part, strict=True), "o^svDP*X"[at % 8], color=f"C{at}", label=kind, ms=6)
    steps = [max(x for _, x, _ in points) * at / 60 for at in range(61)]
    ax.plot(steps, [law["a"] * x + law["b"] * x**2 for x in steps], color=INK, lw=1)
    ax.set_xlabel("KL from base on the task's prompts (nats a token)")
    ax.set_ylabel("more bits for general text (%)")
    low, high = law["r2_interval"]
    ax.set_title(f"R² {law['r2']:.2f} [{low:.2f}, {high:.2f}], n = {law['n']}", loc="left", fontsize=10)
    ax.legend(fontsize=8)
    return fig


def methods(trainings: list[dict], best: dict[str, dict]):
    """What each method learned at each rate, and what it learned against what it forgot; trainings and findings of
    `statistics.own_best`. Small marks: a training each; lines: means; large marks: the method at its own best rate.
    """
    fig, (left, right) = blank(10, 4, columns=2)
    for at, (method, own) in enumerate(best.items()):
        rows, look = [row for row in trainings if row["method"] == method], {"color": f"C{at}"}
        mark = "o^svDP*X"[at % 8]
        scores = {row["setting"]: [] for row in sorted(rows, key=lambda row: row["setting"])}
        for row in rows:
            score = 100 * sum(row["passed"]) / len(row["passed"])
            scores[row["setting"]].append(score)
            left.plot([row["setting"]], [score], mark, ms=4, alpha=0.5, **look)
            right.plot([score], [row["rise"]], mark, ms=4, alpha=0.5, **look)
        left.plot(list(scores), [sum(part) / len(part) for part in scores.values()], label=method, **look)
        right.plot([100 * own["passed"].mean()], [own["rise"].mean()], mark, ms=11, mec=INK, label=method, **look)
    left.set(xscale="log", xlabel="learning rate", ylabel=f"problems solved (%), n = {own['passed'].shape[1]}")
    right.set(xlabel="problems solved (%)", ylabel="more bits for general text (%)")
    left.set_title(f"learned at each rate, {len(own['passed'])} trainings each", loc="left", fontsize=10)
    right.set_title("learned and forgotten; large: at its own best rate", loc="left", fontsize=10)
    left.set_ylim(0, 102)
    for ax in (left, right):
        ax.legend(fontsize=8)
    return fig
