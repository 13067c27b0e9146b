"""The lesson's plots: error in ulps along a path, one panel a format, one line a form; words that need no translation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lesson.forms import FORMS, Judged
from lesson.paths import PATHS, Scanned, scan, walk
from xent_verify.report.plots import Drawing, Plot, rendered
from xent_verify.report.svg import BAD, INK

__all__ = ["NAMES", "pictures"]

NAMES = ("loser", "winner", "up")
"""The paths that are drawn, in the order of the page."""

_FORMATS = ("float32", "float64")
_ENDS = {"winner": 2e3, "up": 1e5}
_WINDOW = {"loser": {"float32": (80.0, 112.0), "float64": (702.0, 754.0)}}
"""Paths whose forms differ in one stretch only: it is drawn alone, in even steps."""

_STEPS = 129
_STYLES: dict[str, tuple[str, str, str]] = {
    "naive": ("#c2378f", "D", "-"),
    "naive-onehot": ("#d97400", "s", "--"),
    "naive-index": ("#8a7a3c", "^", ":"),
    "lse-minus-logit": ("#7a6ad8", "v", "-"),
    "stable": ("#2f6fd0", "o", "-"),
    "log1p": ("#00917f", "P", "-"),
}
_FLOOR, _TOP = 2.0**-4, 1e19
_BREAK = 1e17
"""Height at which the first infinity or NaN is marked; errors of finite answers stay below it."""


def pictures() -> dict[str, bytes]:
    """File name -> SVG."""
    return {f"{name}.svg": _svg(name).encode() for name in NAMES}


def _svg(name: str) -> str:
    plot = Plot(name, PATHS[name].text, "", lambda _: _figure(name))
    return Drawing(plot, "lesson", rendered(plot, [])).on_white


def _figure(name: str) -> Figure:
    figure = Figure(figsize=(8.6, 3.6))
    figure.subplots_adjust(left=0.075, right=0.985, top=0.80, bottom=0.14, wspace=0.08)
    panels = figure.subplots(1, len(_FORMATS), sharex=name not in _WINDOW, sharey=True)
    for panel, fmt in zip(panels, _FORMATS, strict=True):
        panel.set_title(f"{fmt}   {PATHS[name].text}", y=1)
        _lines(panel, _drawn(name, fmt))
        panel.axhline(0.5, color=INK, linewidth=0.6)
        panel.set_xlabel(PATHS[name].parameter)
    _axes(panels, log_x=name not in _WINDOW)
    panels[0].set_ylabel("ulp")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.53, 1.01), ncols=len(FORMS), columnspacing=1.6)
    return figure


def _axes(panels: Sequence[Any], *, log_x: bool) -> None:
    first = panels[0]
    first.set_yscale("log")
    first.set_ylim(_FLOOR / 2, _TOP)
    if log_x:
        first.set_xscale("log")
    for axis in [axis for panel in panels for axis in ((panel.xaxis, panel.yaxis) if log_x else (panel.yaxis,))]:
        axis.set_major_locator(LogLocator(base=10, numticks=7))
        axis.set_major_formatter(FuncFormatter(_tick))
        axis.set_minor_locator(NullLocator())


def _tick(value: float, _position: int = 0) -> str:
    return "" if value >= _BREAK else f"1e{round(math.log10(value))}" if value >= 1e3 else f"{value:g}"


def _drawn(name: str, fmt: str) -> Scanned:
    """The answers along the part of a path that is shown."""
    if name in _WINDOW:
        low, high = _WINDOW[name][fmt]
        return walk(name, fmt, [low + (high - low) * i / (_STEPS - 1) for i in range(_STEPS)])
    whole = scan(name, fmt)
    count = sum(at <= _ENDS[name] for at in whole.at)
    return Scanned(whole.at[:count], {form: judged[:count] for form, judged in whole.answers.items()})


def _lines(panel: Any, drawn: Scanned) -> None:
    """One line a form, as far as it gives numbers."""
    ends = {form: next((i for i, one in enumerate(drawn.answers[form]) if not one.finite), None) for form in FORMS}
    last = max((end for end in ends.values() if end is not None), default=None)
    for position, form in enumerate(FORMS):
        color, marker, style = _STYLES[form]
        end = ends[form]
        x = drawn.at[:end]
        y = [min(max(judged.error_ulp, _FLOOR), _BREAK / 10) for judged in drawn.answers[form][:end]]
        every = (3 * position, 18)
        panel.plot(x, y, style, color=color, marker=marker, markersize=3.4, markevery=every, linewidth=1.2, label=form)
        if end is not None:
            _break(panel, (x[-1], y[-1]), (drawn.at[end], drawn.answers[form][end]), color, after=end == last)


def _break(panel: Any, before: tuple[float, float], found: tuple[float, Judged], color: str, *, after: bool) -> None:
    """The first answer that is no number: a cross with its name."""
    at, judged = found
    panel.plot([before[0], at], [before[1], _BREAK], ":", color=color, linewidth=0.8)
    panel.plot([at], [_BREAK], "x", color=BAD, markersize=6)
    shift, side = ((3, 5), "left") if after else ((-3, 5), "right")
    text = f"{judged.value:g}"
    panel.annotate(text, (at, _BREAK), shift, textcoords="offset points", color=color, fontsize=7.5, ha=side)
