"""Grouped bars as SVG: no library, readable on light and dark pages."""

from html import escape

COLOURS = {"penstock": "#0b7285", "penstock-lazy": "#3bc9db", "rtorrent": "#e8590c", "libtorrent": "#f08c00",
           "transmission": "#c2255c", "aria2": "#9c36b5", "nginx": "#868e96"}
PANEL_WIDTH, PANEL_HEIGHT, GAP, LEFT, TOP = 300, 190, 56, 16, 64


def _panel(x, title, groups, names, value, digits):
    """groups: connections. value(name, group): a number or None."""
    found = [value(name, group) for name in names for group in groups]
    most = max((v for v in found if v is not None), default=1) or 1
    parts = [f'<text x="{x}" y="{TOP - 12}" class="title">{escape(title)}</text>',
             f'<line x1="{x}" y1="{TOP + PANEL_HEIGHT}" x2="{x + PANEL_WIDTH}" y2="{TOP + PANEL_HEIGHT}" class="axis"/>']
    group_width = PANEL_WIDTH / len(groups)
    bar = min(26.0, (group_width - 14) / max(1, len(names)))
    for g, group in enumerate(groups):
        left = x + g * group_width + (group_width - bar * len(names)) / 2
        for i, name in enumerate(names):
            v = value(name, group)
            if v is None:
                continue
            height = max(1.0, PANEL_HEIGHT * v / most)
            bx, by = left + i * bar, TOP + PANEL_HEIGHT - height
            label = f"{name}, {group} connections: {v:.{digits}f}"
            parts.append(f'<rect x="{bx:.1f}" y="{by:.1f}" width="{bar - 2:.1f}" height="{height:.1f}" rx="1.5" '
                         f'fill="{COLOURS.get(name, "#495057")}"><title>{escape(label)}</title></rect>')
            if bar >= 9:
                cx, cy = bx + bar / 2 + 2, by - 4
                parts.append(f'<text x="{cx:.1f}" y="{cy:.1f}" class="value" '
                             f'transform="rotate(-90 {cx:.1f} {cy:.1f})">{v:.{digits}f}</text>')
        parts.append(f'<text x="{x + (g + 0.5) * group_width:.1f}" y="{TOP + PANEL_HEIGHT + 16}" class="group">'
                     f'{group} connections</text>')
    return parts


def seed_vs_peers(results):
    by = {(row["server"], row["connections"]): row for row in results["rows"]}
    names = list(dict.fromkeys(row["server"] for row in results["rows"]))
    groups = sorted({row["connections"] for row in results["rows"]})

    def value(key, scale=1.0):
        return lambda name, group: by[name, group][key] / scale if (name, group) in by else None

    panels = [("Rate, MB/s", value("rate", 1e6), 0), ("CPU seconds per GiB, seed alone", value("seed"), 2),
              ("CPU seconds per GiB, seed and receiver", value("both"), 2)]
    width = LEFT * 2 + len(panels) * PANEL_WIDTH + (len(panels) - 1) * GAP
    height = TOP + PANEL_HEIGHT + 58
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
             'aria-label="Penstock against stock BitTorrent clients and nginx">',
             "<style>text{font:12px system-ui,sans-serif;fill:#343a40}.title{font-weight:600;font-size:13px}"
             ".group{text-anchor:middle}.value{font-size:9px}.axis{stroke:#868e96}"
             "@media(prefers-color-scheme:dark){text{fill:#dee2e6}}</style>"]
    for i, (title, get, digits) in enumerate(panels):
        parts += _panel(LEFT + i * (PANEL_WIDTH + GAP), title, groups, names, get, digits)
    x = LEFT
    for name in names:
        parts.append(f'<rect x="{x}" y="{height - 18}" width="10" height="10" rx="2" '
                     f'fill="{COLOURS.get(name, "#495057")}"/><text x="{x + 14}" y="{height - 9}">{escape(name)}</text>')
        x += 30 + 7 * len(name)
    return "\n".join([*parts, "</svg>\n"])
