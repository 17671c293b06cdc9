"""This module draws the bars of a report as inline SVG; classes stand in place of colours, which are the page's."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

WIDTH, HEIGHT = 492, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 10, 24
_GAP = 2


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack is one bar: parts as (class, amount) from below, and what it says when pointed at."""

    start: int
    parts: tuple[tuple[str, float], ...]
    title: str


def bars(stacks: Sequence[Stack], width: int, name: str, shown: Callable[[float], str]) -> str:
    """Return a picture of `stacks`, each `width` seconds wide; `shown` writes an amount, `name` is read out."""
    most = _round_up(max((sum(amount for _, amount in stack.parts) for stack in stacks), default=0))
    inner, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    step = inner / max(1, len(stacks))
    lines = [_grid(most * part, high * (1 - part) + _TOP, shown) for part in (0.0, 0.5, 1.0)]
    for number, stack in enumerate(stacks):
        # Without a limit, a few bars would fill the whole picture.
        wide = min(48.0, max(1.0, step - _GAP))
        lines.append(_stack(stack, _LEFT + number * step + (step - wide) / 2, wide, high / most))
    for number in _labelled(len(stacks)):
        at = _LEFT + (number + 0.5) * step
        text = _date(stacks[number].start, width)
        lines.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{text}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}" '
        f'preserveAspectRatio="xMidYMid meet">{"".join(lines)}</svg>'
    )


def _grid(amount: float, y: float, shown: Callable[[float], str]) -> str:
    line = f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    label = f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(shown(amount))}</text>'
    return line + label


def _stack(stack: Stack, x: float, wide: float, scale: float) -> str:
    below, drawn = float(HEIGHT - _BOTTOM), []
    for kind, amount in stack.parts:
        if amount > 0:
            # A small amount, drawn less than a pixel high, would look like none.
            high = max(1.5, amount * scale)
            below -= high
            drawn.append(f'<rect class="{kind}" x="{x:.1f}" y="{below:.1f}" width="{wide:.1f}" height="{high:.1f}"/>')
    return f"<g><title>{escape(stack.title)}</title>{''.join(drawn)}</g>" if drawn else ""


def _labelled(count: int) -> list[int]:
    """Return which bars have a date under them: at most five."""
    every = max(1, math.ceil(count / 5))
    return list(range(0, count, every))


def _round_up(amount: float) -> float:
    """Return 1, 2 or 5 times a power of ten, not below `amount`."""
    if amount <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(amount))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= amount)


def _date(seconds: int, width: int) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    if width < 3600:
        return when.strftime("%H:%M")
    return (
        when.strftime("%d %b %H:%M") if width < 86_400 else when.strftime("%d %b %Y" if width > 7 * 86_400 else "%d %b")
    )
