"""Plots of a report (the only matplotlib): per operation one panel a target, naive and stable side by side.

SVG with text as text, no dates and fixed ids: the same report gives the same bytes. Formats differ in colour, marker
and line style; what is not a number of ulps (overflow, NaN …) is written into the panel, never plotted as one.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xent_verify.core.kinds import KINDS
from xent_verify.core.model import DtypeResult, Report, TargetResult
from xent_verify.report.frames import histogram_of
from xent_verify.report.safe import file_part, readable
from xent_verify.report.svg import BAD, INK, slim
from xent_verify.report.words import classes_text, shortened, tile
from xent_verify.verdict.measure import ERROR_EDGES, MAGNITUDE_EDGES

with warnings.catch_warnings():  # of what matplotlib itself imports; a caller's -W error is for the caller's code
    warnings.simplefilter("ignore")
    from matplotlib import rc_context
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

__all__ = ["PLOTS", "Drawing", "Plot", "drawings", "rendered", "svg_of"]

_STYLE: Any = {
    "svg.hashsalt": "xent-verify",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "xtick.bottom": False,
    "ytick.left": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.facecolor": "none",
    "grid.color": "#8888887f",
    "grid.linewidth": 0.4,
    "legend.frameon": False,
    "text.parse_math": False,
} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK
)

_LINES: dict[str, tuple[str, str, str]] = {
    "float64": ("#2f6fd0", "o", "-"),
    "float32": ("#d97400", "s", "-"),
    "float16": ("#00917f", "^", "--"),
    "bfloat16": ("#c2378f", "D", "--"),
    "float8_e4m3fn": ("#7a6ad8", "v", ":"),
    "float8_e5m2": ("#8a7a3c", "P", ":"),
}
_HEAT = ("#edf3fa", "#d3e2f2", "#f2b06f", "#c2342b")
_OTHER_LINE = ("#777777", "x", "-.")
_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Plot:
    """One kind of plot: ``describe`` says in a sentence what it shows (also for those who cannot see it)."""

    name: str
    title: str
    describe: str
    draw: Callable[[Sequence[TargetResult]], Figure]


@dataclass(frozen=True, slots=True)
class Drawing:
    """One plot of one operation."""

    plot: Plot
    op: str
    svg: str

    @property
    def file(self) -> str:
        return f"plots/{file_part(self.op)}-{self.plot.name}.svg"

    @property
    def on_white(self) -> str:
        """The plot as a file of its own."""
        start = self.svg.index(">") + 1
        return f'{self.svg[:start]}\n<rect width="100%" height="100%" fill="white"/>{self.svg[start:]}'


def drawings(report: Report) -> list[Drawing]:
    """Every plot of every operation, kind by kind."""
    report = readable(report)
    by_op = {op: [target for target in report.targets if target.op == op] for op in (t.op for t in report.targets)}
    made = [Drawing(plot, op, svg_of(plot, targets)) for plot in PLOTS for op, targets in by_op.items()]
    return [drawing for drawing in made if drawing.svg]


def svg_of(plot: Plot, targets: Sequence[TargetResult]) -> str:
    """One plot of one operation's targets as SVG without a background; empty where there is nothing to plot."""
    if not any(regime.histogram.any() for target in targets for result in target.dtypes for regime in result.regimes):
        return ""
    return rendered(plot, targets)


def rendered(plot: Plot, targets: Sequence[TargetResult]) -> str:
    """The same of targets whatever they hold (the table of libraries has no regimes)."""
    drawn = io.StringIO()
    with rc_context(_STYLE):
        figure = plot.draw(readable(targets))
        figure.savefig(drawn, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
    return slim(drawn.getvalue())


def _sheet(rows: int, columns: int, *, width: float, height: float, left: float) -> tuple[Figure, list[Any]]:
    """Panels of a size in inches with fixed margins (a computed layout takes seconds for many panels)."""
    gap_x, gap_y, top, bottom, right = 0.2, 0.62, 0.75, 0.62, 0.12
    wide = left + columns * width + (columns - 1) * gap_x + right
    high = top + rows * height + (rows - 1) * gap_y + bottom
    figure = Figure(figsize=(wide, high))
    figure.subplots_adjust(
        left=left / wide,
        right=1 - right / wide,
        top=1 - top / high,
        bottom=bottom / high,
        wspace=gap_x / width,
        hspace=gap_y / height,
    )
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    return figure, panels


def _grid(
    targets: Sequence[TargetResult], *, height: float = 1.5, left: float = 0.75, log_x: int = 0, log_y: bool = False
) -> tuple[Figure, list[Any]]:
    """One titled panel per target; what is not a number of ulps stands in words below the title."""
    columns = min(_COLUMNS, len(targets))
    figure, panels = _sheet(math.ceil(len(targets) / columns), columns, width=2.9, height=height, left=left)
    for panel, target in zip(panels, targets, strict=False):
        note = _note(target)
        panel.set_title(_short(target.target), pad=15 if note else 6, y=1)  # y: no search for a free place
        panel.annotate(note, (0, 1), (0, 3), "axes fraction", "offset points", color=BAD, fontsize=7.5)
    for panel in panels[len(targets) :]:
        panel.remove()
    used = panels[: len(targets)]
    for panel in used[-columns:]:
        panel.tick_params(labelbottom=True)
    if log_x:
        _log_axis(used[0].set_xscale, [panel.xaxis for panel in used], log_x)
    if log_y:
        _log_axis(used[0].set_yscale, [panel.yaxis for panel in used], 10)
    return figure, used


def _log_axis(set_scale: Callable[..., None], axes: Sequence[Any], base: int) -> None:
    set_scale("log", base=base)
    for axis in axes:
        axis.set_major_locator(LogLocator(base=base, numticks=6))
        axis.set_major_formatter(_tick)
        axis.set_minor_locator(NullLocator())


def _tick(value: float, _position: int = 0) -> str:
    return f"{value:g}" if 1e-3 <= value < 1e5 else f"1e{round(math.log10(value))}" if value > 0 else ""


def _finish(figure: Figure, panels: Sequence[Any], x_label: str, y_label: str) -> Figure:
    """Axis labels once, and a legend of the formats above the panels."""
    wide, high = figure.get_size_inches()
    figure.text(0.5, 0.1 / high, x_label, ha="center", va="bottom")
    figure.text(0.08 / wide, 0.5, y_label, ha="left", va="center", rotation=90)
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        place = (0, 1 - 0.34 / high)
        figure.legend(handles.values(), handles.keys(), loc="lower left", bbox_to_anchor=place, ncols=6, borderpad=0.2)
    return figure


def _line(panel: Any, x: Sequence[float], y: Sequence[float], result: DtypeResult) -> None:
    color, marker, style = _LINES.get(result.dtype, _OTHER_LINE)
    panel.plot(x, y, style, color=color, marker=marker, markersize=3.2, linewidth=1.2, label=result.dtype)


def _note(target: TargetResult) -> str:
    """Overflow, NaN … of a target, in words."""
    totals = {
        name: sum(result.classes.get(name, 0) for result in target.dtypes)
        for name, kind in KINDS.items()
        if kind.shown or name == "special_value"
    }
    text = classes_text(totals)
    return shortened(f"✗ {text}", 46) if text else ""


def by_magnitude(targets: Sequence[TargetResult]) -> Figure:
    """Largest error in each bin of result magnitude."""
    figure, panels = _grid(targets, log_y=True)
    for panel, target in zip(panels, targets, strict=True):
        panel.axhline(0.5, color=INK, linewidth=0.6)
        for result in target.dtypes:
            table = histogram_of(result.regimes)
            used = np.flatnonzero(table.any(axis=0) & np.isfinite(MAGNITUDE_EDGES[:-1]))  # the first bin holds zeros
            tops = [int(np.flatnonzero(table[:, column])[-1]) for column in used]
            _line(panel, used.tolist(), _capped(tops, result.max_ulp), result)
    _bin_ticks(panels[0])
    return _finish(figure, panels, "log2 of the true result's magnitude", "largest error (ulp)")


def by_length(targets: Sequence[TargetResult]) -> Figure:
    """Largest error of well-conditioned values at each row length, lengths of one octave together."""
    figure, panels = _grid(targets, log_x=2, log_y=True)
    for panel, target in zip(panels, targets, strict=True):
        panel.axhline(0.5, color=INK, linewidth=0.6)
        for result in target.dtypes:
            largest: dict[int, float] = {}
            for length, error in (item for regime in result.regimes for item in regime.length_max.items()):
                octave = 1 << (length.bit_length() - 1) if length else 0
                if octave and np.isfinite(error):
                    largest[octave] = min(max(largest.get(octave, _FLOOR), error), _CEILING)
            _line(panel, sorted(largest), [largest[n] for n in sorted(largest)], result)
    return _finish(
        figure, panels, "row length (from each power of two to the next)", "largest error (ulp, well-conditioned)"
    )


def tail(targets: Sequence[TargetResult]) -> Figure:
    """Share of elements with an error above e."""
    figure, panels = _grid(targets, log_x=10, log_y=True)
    for panel, target in zip(panels, targets, strict=True):
        panel.axvline(0.5, color=INK, linewidth=0.6)
        for result in target.dtypes:
            counts = histogram_of(result.regimes).sum(axis=1)
            beyond = counts[::-1].cumsum()[::-1]
            shown = np.flatnonzero((beyond > 0) & (ERROR_EDGES[:-1] >= _FLOOR))
            color, _, style = _LINES.get(result.dtype, _OTHER_LINE)
            share = beyond[shown] / max(int(counts.sum()), 1)
            panel.plot(ERROR_EDGES[shown], share, style, color=color, linewidth=1.3, label=result.dtype)
    return _finish(figure, panels, "error e (ulp)", "share with error > e")


def against_bound(targets: Sequence[TargetResult]) -> Figure:
    """Largest error ÷ a-priori bound, target by target."""
    figure, (panel,) = _sheet(1, 1, width=6.6, height=0.36 * len(targets) + 0.2, left=2.9)
    _log_axis(panel.set_xscale, [panel.xaxis], 10)
    panel.axvline(1, color=BAD, linewidth=1.2)
    for row, target in enumerate(targets):
        for offset, result in enumerate(target.dtypes):
            color, marker, _ = _LINES.get(result.dtype, _OTHER_LINE)
            place = row + (offset - (len(target.dtypes) - 1) / 2) * 0.12
            ratios = [min(max(regime.max_bound_ratio, _RATIO_FLOOR), _CEILING) for regime in result.regimes]
            strokes = [(x, y) for x in ratios for x, y in ((x, place - 0.06), (x, place + 0.06), (math.nan, place))]
            panel.plot(*zip(*strokes, strict=True), color=color, linewidth=0.7)  # one path: the file stays small
            top = min(max(result.max_bound_ratio, _RATIO_FLOOR), _CEILING)
            panel.plot([top], [place], marker, color=color, markersize=5, linestyle="none", label=result.dtype)
    panel.set_xlim(min(panel.get_xlim()[0], 0.5), max(panel.get_xlim()[1], 2))
    panel.set_yticks(range(len(targets)), [_short(target.target) for target in targets])
    panel.set_ylim(len(targets) - 0.5, -0.5)
    marks = "strokes: single regimes; " if any(one.regimes for target in targets for one in target.dtypes) else ""
    return _finish(figure, [panel], f"largest error ÷ bound ({marks}beyond the red line: fails)", "")


def by_regime(targets: Sequence[TargetResult]) -> Figure:
    """Largest error of each regime in each format, as shaded figures."""
    regimes = list(dict.fromkeys(r.regime for target in targets for result in target.dtypes for r in result.regimes))
    dtypes = list(dict.fromkeys(result.dtype for target in targets for result in target.dtypes))
    figure, panels = _grid(targets, height=0.17 * len(regimes), left=1.75)
    panels[0].set_xticks(range(len(dtypes)), [name.replace("float", "f") for name in dtypes])
    panels[0].set_yticks(range(len(regimes)), regimes)
    panels[0].set_xlim(-0.5, len(dtypes) - 0.5)
    panels[0].set_ylim(len(regimes) - 0.5, -0.5)
    for panel, target in zip(panels, targets, strict=True):
        panel.grid(visible=False)
        panel.tick_params(axis="y", labelsize=7.5)
        _tiles(
            panel,
            [
                (dtypes.index(result.dtype), regimes.index(regime.regime), *tile(regime))
                for result in target.dtypes
                for regime in result.regimes
            ],
        )
    legend = "largest error in ulp; shade: error ÷ bound; ✗: beyond the bound, or overflow, NaN, log 0 or the like"
    return _finish(figure, panels, legend, "")


PLOTS = (
    Plot(
        "magnitude",
        "Error against magnitude",
        "Largest error in ulps over the size of the true result, one panel a target; the line is 0.5 ulp.",
        by_magnitude,
    ),
    Plot("regimes", "Error by regime", "Largest error of each regime and format, one panel a target.", by_regime),
    Plot(
        "length",
        "Error against row length",
        "Largest error in ulps over the length of the row: a sum that loses digits rises with it.",
        by_length,
    ),
    Plot("tail", "Tail of the distribution", "Share of results whose error exceeds a given number of ulps.", tail),
    Plot(
        "bound",
        "Bound against observed",
        "Largest error over the a-priori bound, a row a target; marks right of 1 break the bound.",
        against_bound,
    ),
)

_FLOOR, _CEILING = 2.0**-6, 1e18
_RATIO_FLOOR = 1e-3


def _bin_ticks(panel: Any) -> None:
    """About six labelled bins of those in sight: the axis counts bins, which are narrow where formats have values."""
    low, high = (round(end) for end in panel.get_xlim())
    step = max(1, round((high - low) / 4))
    places = [i for i in range(max(low, 1), min(high, len(MAGNITUDE_EDGES) - 2) + 1) if (i - 1) % step == 0]
    panel.set_xticks(places, [f"{MAGNITUDE_EDGES[i]:.0f}" for i in places])


def _capped(bins: Sequence[int], largest: float) -> list[float]:
    """Upper edges of error bins, at most the true maximum, within the range of the plot."""
    return [min(max(min(float(ERROR_EDGES[i + 1]), largest), _FLOOR), _CEILING) for i in bins]


def _tiles(panel: Any, tiles: Sequence[tuple[int, int, int, str]]) -> None:
    """(column, row, shade, text) as coloured rectangles with their text."""
    corners = np.array([(-0.48, -0.46), (0.48, -0.46), (0.48, 0.46), (-0.48, 0.46)])
    shapes = [np.add(corners, (x, y)) for x, y, _, _ in tiles]
    panel.add_collection(PolyCollection(shapes, facecolors=[_HEAT[shade] for _, _, shade, _ in tiles], linewidths=0))
    for x, y, shade, text in tiles:
        panel.text(x, y, text, ha="center", va="center", fontsize=6.5, color="white" if shade == 3 else "#202020")


def _short(name: str) -> str:
    return name if len(name) <= 38 else f"{name[:21]}…{name[-16:]}"
