"""Loss, Dice and AUC of each fold over the epochs."""

from __future__ import annotations

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..common.plot import BACK, FORE
from .progress import RunProgress

# Okabe and Ito's colours, which the colour-blind tell apart
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#ffffff")
PANELS = (("loss", "loss (training)"), ("dice", "Dice (validation)"), ("auc", "AUC (validation)"))
MAX_POINTS = 400


class Curves(FigureCanvasQTAgg):  # type: ignore[misc]  # matplotlib chooses the base
    """Three panels, one line a fold."""

    def __init__(self) -> None:
        figure = Figure(facecolor=BACK)
        super().__init__(figure)
        self.setFixedHeight(300)
        # Margins, titles and most ticks are fixed: to place them anew costs more than the drawing.
        figure.subplots_adjust(left=0.15, right=0.97, top=0.93, bottom=0.14, hspace=0.45)
        axes = figure.subplots(3, 1, sharex=True)
        self.panels = {name: panel for (name, _), panel in zip(PANELS, axes, strict=True)}
        for (_, title), panel in zip(PANELS, axes, strict=True):
            panel.set_facecolor(BACK)
            panel.set_title(title, color=FORE, fontsize=8, loc="left", pad=2, y=1.0)
            panel.tick_params(colors=FORE, labelsize=7, length=0)
            panel.xaxis.set_visible(panel is axes[-1])
            for side in panel.spines.values():
                side.set_visible(False)
        self.panels["loss"].yaxis.set_major_locator(MaxNLocator(3))
        axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes[-1].set_xlabel("epoch", color=FORE, fontsize=8)
        for name in ("dice", "auc"):
            self.panels[name].set_ylim(-0.03, 1.03)
            self.panels[name].set_yticks([0, 0.5, 1])
        self.draw()  # it looks for its fonts now, when the dock is made, and not while a run goes on

    def show_progress(self, progress: RunProgress) -> None:
        """Draw what is known of each fold."""
        for name, panel in self.panels.items():
            for line in list(panel.lines):
                line.remove()
            for index, fold in sorted(progress.folds.items()):
                curve: dict[float, float] = getattr(fold, name)
                at = sorted(curve)
                at = sorted({*at[:: max(len(at) // MAX_POINTS, 1)], *at[-1:]})
                panel.plot(
                    at,
                    [curve[epoch] for epoch in at],
                    color=COLOURS[index % len(COLOURS)],
                    linewidth=1,
                    marker="o" if len(at) < 60 else "",
                    markersize=2.5,
                    label=f"fold {index + 1}",
                )
        self.panels["loss"].relim()
        self.panels["loss"].autoscale_view(scalex=False)
        self.panels["loss"].set_xlim(0, progress.n_epochs)
        legend = self.panels["loss"].get_legend()
        if len(progress.folds) > 1:
            self.panels["loss"].legend(fontsize=7, labelcolor=FORE, frameon=False, ncols=2, loc="upper right")
        elif legend is not None:
            legend.remove()
        self.draw_idle()
