"""The results of scripts/stress as one self-contained page: a table, and for each profile its checks and three plots."""

from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 560, 170, 62, 24, 8
COLOURS = ("#1f77b4", "#d95f02", "#2a9d4a")

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em; color: #1b1f24; background: #fff }
table { border-collapse: collapse; margin: .6em 0 } th, td { text-align: left; padding: .25em .8em .25em 0; border-bottom: 1px solid #ddd }
td.n { text-align: right; font-variant-numeric: tabular-nums } code { font-size: 13px }
.pass { color: #1a7f37; font-weight: 600 } .fail { color: #cf222e; font-weight: 600 }
.plots { display: flex; flex-wrap: wrap; gap: 12px } figure { margin: 0; max-width: 560px } figcaption { font-size: 13px; color: #57606a }
svg text { font: 11px system-ui, sans-serif; fill: #57606a } section { margin-top: 2.2em; border-top: 2px solid #ddd }
"""


def page(run):
    head = run["head"]
    facts = " · ".join(f"{escape(key)} {escape(str(value))}" for key, value in head.items())
    rows = "".join(row(result) for result in run["results"])
    sections = "".join(section(result) for result in run["results"])
    failed = [result["name"] for result in run["results"] if not result["passed"]]
    verdict = f"<p class=fail>failed: {', '.join(failed)}</p>" if failed else "<p class=pass>all passed</p>"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>micring under stress</title><style>{STYLE}</style><h1>micring under stress</h1><p>{facts}</p>{verdict}"
        "<table><tr><th>profile<th>result<th>lost: true<th>lost: told<th>desync before<th>during<th>after (samples)"
        f"<th>skew 0→1 before<th>during<th>after (µs)</tr>{rows}</table>{sections}</html>"
    )


def number(value):
    return "unknown" if value is None else f"{value:g}" if isinstance(value, int) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def row(result):
    found = result["found"]
    phases = [found[name] for name in ("before", "during", "after")]
    cells = [found["true"]["lost"], found["told"]["lost_datagrams"], *(p["desync"] for p in phases), *(p["skew"]["01"] for p in phases)]
    cells = "".join(f"<td class=n>{number(value)}" for value in cells)
    word = "pass" if result["passed"] else "fail"
    return f"<tr><td><a href='#{result['name']}'>{result['name']}</a><td class={word}>{word}{cells}</tr>"


def section(result):
    checks = "".join(
        f"<tr><td class={'pass' if check['held'] else 'fail'}>{'held' if check['held'] else 'broken'}<td><code>{escape(check['check'])}</code>"
        f"<td>{escape(check.get('error', ''))}</tr>"
        for check in result["checks"]
    )
    cycles, looks = result["cycles"], result["looks"]
    skews = [[(c[0], c[1][pair]) for c in cycles if c[1][pair] is not None] for pair in range(2)]
    apart = [[(c[0], max(abs(v) for v in c[2] if v is not None)) for c in cycles if c[2] and any(v is not None for v in c[2])]]
    lost = [[(at, look["loss"][f"mic{mic}"]["lost"]) for at, look in looks] for mic in range(3)]
    plots = (
        plot(result, skews, "arrival skew against mic 0, µs", ("mic 1", "mic 2"))
        + plot(result, apart, "largest misalignment within a frame, samples", ())
        + plot(result, lost, "lost so far, as told", ("mic 0", "mic 1", "mic 2"))
    )
    shown = {name: value for name, value in result["found"].items() if name in ("true", "told", "drift", "step", "plain")}
    facts = "".join(f"<tr><th>{name}<td><code>{escape(str(value))}</code></tr>" for name, value in shown.items())
    return (
        f"<section id='{result['name']}'><h2>{result['name']}</h2><p>{escape(result['about'])}. Impaired from {result['during'][0]} to "
        f"{result['during'][1]} s by {escape(result['made_by'])}.</p><div class=plots>{plots}</div><table>{checks}</table><table>{facts}</table></section>"
    )


def thin(points, buckets=400):
    """The extremes of each of so many stretches of time."""
    if len(points) <= 2 * buckets:
        return points
    size = len(points) / buckets
    kept = []
    for bucket in range(buckets):
        part = points[int(bucket * size) : int((bucket + 1) * size)]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def ticks(length):
    """Seconds between the labels of the time axis, and the unit that they are written in."""
    steps = [(5, 1, "s"), (15, 1, "s"), (60, 60, "min"), (600, 60, "min"), (3600, 3600, "h"), (3 * 3600, 3600, "h")]
    return next((step for step in steps if length / step[0] <= 12), (24 * 3600, 3600, "h"))


def plot(result, lines, caption, names):
    """Lines over time; what happened while the impairment acted stands on grey."""
    everything = [value for line in lines for _, value in line] or [0]
    low, high = min(0, min(everything)), max(everything)
    high = high if high > low else low + 1
    x = lambda at: LEFT + max(0, min(at, result["length"])) / result["length"] * (WIDTH - LEFT - 6)
    y = lambda value: TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)
    from_, to = (x(at) for at in result["during"])
    drawn = [f"<rect x='{from_:.1f}' y='{TOP}' width='{to - from_:.1f}' height='{HEIGHT - TOP - BOTTOM}' fill='#eceff3'/>"]
    for share in (0, 0.5, 1):
        value = low + share * (high - low)
        drawn.append(f"<line x1='{LEFT}' x2='{WIDTH - 6}' y1='{y(value):.1f}' y2='{y(value):.1f}' stroke='#d0d7de'/>")
        drawn.append(f"<text x='{LEFT - 6}' y='{y(value) + 4:.1f}' text-anchor='end'>{number(float(value))}</text>")
    step, unit, name = ticks(result["length"])
    for at in range(0, int(result["length"]) + 1, step):
        anchor = "middle" if x(at) < WIDTH - 20 else "end"
        drawn.append(f"<text x='{min(x(at), WIDTH - 2):.1f}' y='{HEIGHT - 8}' text-anchor='{anchor}'>{at // unit} {name}</text>")
    for line, colour in zip(lines, COLOURS):
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in thin(line))
        drawn.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.3'/>")
    legend = "".join(f" <b style='color:{colour}'>{name}</b>" for name, colour in zip(names, COLOURS))
    return f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}'>{''.join(drawn)}</svg><figcaption>{escape(caption)}{legend}</figcaption></figure>"
