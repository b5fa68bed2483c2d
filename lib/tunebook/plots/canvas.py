"""An empty figure in the house's style, and its colours. Imports matplotlib late."""

import io

INK, SOFT, ACCENT, WARN = "#1f2937", "#9ca3af", "#2563eb", "#dc2626"


def blank(width: float, height: float, rows: int = 1, columns: int = 1):
    """(figure, axes as a flat list); sizes in inches. A cell that ends with the figure shows it."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    fig._repr_png_ = lambda: _png(fig)  # IPython knows figures of pyplot alone
    axes = fig.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="x", color="#e5e7eb", linewidth=0.6)
        ax.set_axisbelow(True)
    return fig, axes


def _png(fig) -> bytes:
    image = io.BytesIO()
    fig.savefig(image, format="png", dpi=100)
    return image.getvalue()
