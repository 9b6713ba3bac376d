"""The audit as one HTML page that needs nothing else: pictures lie inside it."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from covjax.data.duplicates import Pair
from covjax.evaluation.examination import Audit

SHOWN = 40  # pairs; the file audit.json has all
SIDE = 160  # pixels of a picture on the page
SAMPLES = 5  # pictures of each class

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Audit of {{ name }}</title>
<style>
 body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
        padding: 0 1rem; color: #1c2733; background: #fff }
 h1 { font-size: 1.6rem; margin-bottom: 0 }  h2 { margin-top: 2.2rem }
 table { border-collapse: collapse; width: 100% }
 th, td { text-align: left; padding: .35rem .6rem; vertical-align: top;
          border-bottom: 1px solid #dfe5ea }
 td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
 .badge { border-radius: .7rem; padding: .1rem .6rem; font-size: .85em }
 .alarm { background: #b3261e; color: #fff } .notice { background: #f4d58d }
 .fine { background: #d5eadb } .untried { background: #e3e8ec }
 figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }
 figcaption { font-size: .8rem; max-width: {{ side * 2 + 8 }}px;
              overflow-wrap: anywhere; color: #46535f }
 img { width: {{ side }}px; height: {{ side }}px; image-rendering: auto;
       background: #000 }
 .quiet { color: #46535f }
</style>
<h1>Audit of {{ name }}</h1>
<p class="quiet">{{ pictures }} pictures; {{ counts }}. No network was trained.
<p><b>{{ alarms }} {{ "alarm" if alarms == 1 else "alarms" }}.</b>
An alarm is a reason not to believe a score on this set; a notice is a reason to look
closer.

<h2>Findings</h2>
<table>{% for f in findings %}
<tr><td><span class="badge {{ f.level }}">{{ f.level }}</span>
<td>{{ f.topic }}<td>{{ f.sentence }}{% endfor %}
</table>

<h2>What scores without a network</h2>
<p class="quiet">Macro AUC on the test split with its interval; 0.5 is chance. The first
six do not see the lungs.
<table><tr><th>control<th class="number">AUC<th><svg width="330" height="18"
 font-size="12" text-anchor="middle">{% for v in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0) %}
<text x="{{ x(v) }}" y="14">{{ v }}</text>{% endfor %}</svg>
{% for c in controls %}<tr><td>{{ c.name }}
<td class="number">{% if c.auc.estimate is not none %}
{{ "%.2f [%.2f, %.2f]"|format(c.auc.estimate, c.auc.low, c.auc.high) }}{% else %}&ndash;
{% endif %}
<td>{% if c.auc.estimate is not none %}<svg width="330" height="18" role="img"
 aria-label="interval"><line x1="{{ x(0.5) }}" x2="{{ x(0.5) }}" y1="0" y2="18"
 stroke="#9aa7b3" stroke-dasharray="2 2"/>
<line x1="{{ x(c.auc.low) }}" x2="{{ x(c.auc.high) }}" y1="9" y2="9" stroke-width="3"
 stroke="{{ '#b3261e' if c.alarm else '#46535f' }}"/>
<circle cx="{{ x(c.auc.estimate) }}" cy="9" r="5"
 fill="{{ '#b3261e' if c.alarm else '#46535f' }}"/></svg>{% endif %}{% endfor %}
</table>

<h2>The same picture twice</h2>
<p class="quiet">{{ compared }} pairs compared; {{ total }} found, {{ expected }} of
them expected by chance.{% if total > pairs|length %} The first {{ pairs|length }} are
shown, those across splits, classes and patients first.{% endif %}
<div>{% for p in pairs %}<figure><img alt="" src="{{ p.left }}">
<img alt="" src="{{ p.right }}">
<figcaption>{{ p.caption }}<br>{{ p.files }}</figcaption></figure>{% endfor %}</div>

<h2>The classes</h2>
<p class="quiet">The mean of each class and source, then some pictures: what differs
outside the lungs should not.
<div>{% for m in means %}<figure><img alt="" src="{{ m.picture }}">
<figcaption>{{ m.caption }}</figcaption></figure>{% endfor %}</div>
{% for s in samples %}<div>{% for p in s.pictures %}<figure><img alt="" src="{{ p }}">
<figcaption>{{ s.name }}</figcaption></figure>{% endfor %}</div>{% endfor %}

<h2>Size and exposure</h2>
<p class="quiet">Medians of the files; means of the prepared pictures' grey values.
<table><tr>{% for c in columns %}<th{% if loop.index > 2 %} class="number"{% endif %}>
{{ c }}{% endfor %}
{% for row in statistics %}<tr>{% for c in columns %}
<td{% if loop.index > 2 %} class="number"{% endif %}>{{ row[c] }}{% endfor %}
{% endfor %}
</table>
</html>
"""


def page(audit: Audit) -> str:
    """The HTML of an audit."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    images, found = audit.images, audit.duplicates
    columns = list(dict.fromkeys(name for row in audit.statistics for name in row))
    return environment.from_string(TEMPLATE).render(
        name=images.name,
        side=SIDE,
        pictures=f"{len(images):,}",
        counts=", ".join(
            f"{count:,} {name}" for name, count in images.counts().items()
        ),
        alarms=len(audit.alarms),
        findings=audit.findings,
        controls=audit.controls,
        x=lambda auc: round(10 + 310 * (max(auc, 0.4) - 0.4) / 0.6, 1),
        compared=f"{found.compared:,}",
        total=len(found.pairs),
        expected=f"{found.expected_false:.2g}",
        pairs=[_shown(audit, pair) for pair in _worst_first(audit)[:SHOWN]],
        means=_means(audit),
        samples=_samples(audit),
        columns=columns,
        statistics=[
            {c: _text(row.get(c)) for c in columns} for row in audit.statistics
        ],
    )


def _worst_first(audit: Audit) -> list[Pair]:
    """Pairs across splits before others, then across classes, then by correlation."""

    def harmless(pair: Pair) -> tuple[bool, bool, float]:
        first, second = pair.first, pair.second
        labels = audit.images.labels
        return (
            bool(audit.parts[first] == audit.parts[second]),
            bool(np.array_equal(labels[first], labels[second])),
            -pair.correlation,
        )

    return sorted(audit.duplicates.pairs, key=harmless)


def _shown(audit: Audit, pair: Pair) -> dict[str, str]:
    images, (a, b) = audit.images, (pair.first, pair.second)
    owners = images.patients[a], images.patients[b]
    if "" in owners:
        patients = "patients unknown"
    else:
        patients = "one patient" if owners[0] == owners[1] else "two patients"
    words = [
        f"{audit.parts[a]} and {audit.parts[b]}",
        f"{_classes(audit, a)} and {_classes(audit, b)}",
        patients,
        pair.kind
        if pair.kind == "identical"
        else f"correlation {pair.correlation:.3f}",
        pair.turn,
    ]
    return {
        "left": uri(images.images[a]),
        "right": uri(images.images[b]),
        "caption": "; ".join(filter(None, words)),
        "files": f"{images.files[a]} / {images.files[b]}",
    }


def _classes(audit: Audit, row: int) -> str:
    labels, names = audit.images.labels, audit.images.class_names
    if labels.ndim == 1:
        return names[labels[row]]
    return ", ".join(n for n, has in zip(names, labels[row]) if has) or "no class"


def _means(audit: Audit) -> list[dict[str, str]]:
    """The mean picture of each class, and of each of the largest sources."""
    images = audit.images
    groups = [(name, rows) for name, rows in _rows_by_class(audit)]
    names, counts = np.unique(images.sources, return_counts=True)
    for name in names[np.argsort(-counts)][:6]:
        groups.append((f"source {name or 'unknown'}", images.sources == name))
    return [
        {
            "picture": uri(images.images[rows].mean(axis=0).astype(np.uint8)),
            "caption": f"{name}, mean of {int(rows.sum())}",
        }
        for name, rows in groups
        if rows.any()
    ]


def _samples(audit: Audit) -> list[dict[str, Any]]:
    """Pictures spread evenly over each class."""
    found = []
    for name, chosen in _rows_by_class(audit):
        rows = np.flatnonzero(chosen)
        if len(rows):
            spread = np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int)
            pictures = [uri(audit.images.images[row]) for row in rows[spread]]
            found.append({"name": name, "pictures": pictures})
    return found


def _rows_by_class(audit: Audit) -> list[tuple[str, np.ndarray]]:
    labels, names = audit.images.labels, audit.images.class_names
    if labels.ndim == 1:
        return [(name, labels == k) for k, name in enumerate(names)]
    return [(name, labels[:, k] > 0) for k, name in enumerate(names)]


def uri(image: np.ndarray) -> str:
    """A picture uint8 ``[height, width, channels]`` as PNG in a data address."""
    pixels = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"
