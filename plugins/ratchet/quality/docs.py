"""The site of validation results that people read.

Great Expectations' own index page fetches its table from content networks and stays blank without them, so a
plain one stands before it; the result pages are its own.
"""

from __future__ import annotations

import html
import json
from pathlib import Path

from ratchet.quality.session import open_context
from ratchet.settings import Settings


class DocsError(RuntimeError):
    """There is nothing to build the site from."""


def build_data_docs(settings: Settings) -> Path:
    """Build Great Expectations' Data Docs from the kept results; the path of the plain index page.

    Raises:
        DocsError: no gate has run yet.
    """
    kept = settings.gx_dir / "validations"
    if not any(kept.glob("*/*/*/*.json")):
        raise DocsError(f"{kept} holds no result; run a gate first (ingest_events)")
    open_context(settings.gx_dir).build_data_docs()
    page = settings.gx_dir / "data_docs" / "index.html"
    page.write_text(_index(kept, page.parent), encoding="utf-8")
    return page


def _index(kept: Path, folder: Path) -> str:
    """One row a kept result: suite, border, as-of, partitions, verdict, and a link to its page."""
    rows = []
    for path in sorted(kept.glob("*/*/*/*.json"), key=lambda p: (p.parts[-2], p.parts[-4]), reverse=True):
        suite, run, moment, partitions = *path.parts[-4:-1], path.stem
        result = json.loads(path.read_text(encoding="utf-8"))
        counts = result["statistics"]
        page = Path("local_site", "validations", suite, run, moment, f"{partitions}.html")
        name = html.escape(partitions.replace("_", " to "))
        link = f'<a href="{html.escape(page.as_posix())}">{name}</a>' if (folder / page).exists() else name
        told = "pass" if result["success"] else "not met"
        cells = [
            html.escape(suite), html.escape(run), html.escape(moment[:8]), link,
            f"{counts['successful_expectations']} of {counts['evaluated_expectations']}", told,
        ]  # fmt: skip
        rows.append(f'<tr class="{told.replace(" ", "-")}"><td>' + "</td><td>".join(cells) + "</td></tr>")
    return _PAGE.replace("{rows}", "\n".join(rows)).replace("{count}", str(len(rows)))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Gate results</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #ccc; }
tr.not-met td { background: #fdecea; }
@media (prefers-color-scheme: dark) {
  body { background: #16181d; color: #e6e6e6; } a { color: #8ab4f8; } tr.not-met td { background: #4a1f1c; }
}
</style>
</head>
<body>
<h1>Gate results</h1>
<p>{count} validations, the newest as-of first. A result that is not met blocked a partition, or passed it with a note,
by the severity of the expectation; the verdicts themselves are in the ledger.</p>
<table>
<thead><tr><th>suite</th><th>loop and border</th><th>as of</th><th>partitions</th><th>expectations met</th>
<th>result</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
