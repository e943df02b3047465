"""Colours, type and spacing of the report, and how it writes numbers."""

from __future__ import annotations

LIGHT = (
    "--paper:#fcfbf8;--panel:#f4f2ec;--ink:#1c2024;--soft:#5b6168;--rule:#ddd9cf;--grid:#ebe8e0;"
    "--nested:#0a6b66;--nested-soft:rgba(10,107,102,.13);--adapted:#b0264f;"
    "--adapted-soft:rgba(176,38,79,.12);--float:#5a74a8;--int8:#8a6bab;"
    "--quantizer:#a8763a;--good:#0a6b66;--warn:#8a4b08;--warn-ground:#fbf0dd"
)
DARK = (
    "--paper:#14171a;--panel:#1c2024;--ink:#e8e6e1;--soft:#a0a6ad;--rule:#343a40;--grid:#23282d;"
    "--nested:#5fd0c4;--nested-soft:rgba(95,208,196,.16);--adapted:#ff8fab;"
    "--adapted-soft:rgba(255,143,171,.16);--float:#8ba3d6;--int8:#b79ad6;"
    "--quantizer:#d3a063;--good:#5fd0c4;--warn:#f0c98a;--warn-ground:#33291a"
)
COLORS = f":root,svg{{{LIGHT}}}@media (prefers-color-scheme:dark){{:root,svg{{{DARK}}}}}"
FONT = "ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif"


def chart_style(scope: str) -> str:
    """The rules of the chart's classes. scope: the selector that holds them."""
    families = "".join(
        f"{scope} .{name} .path,{scope} .{name} .whisker{{stroke:var(--{name})}}"
        f"{scope} .{name} .point{{fill:var(--{name})}}"
        f"{scope} .{name}-name{{fill:var(--{name})}}"
        for name in ("float", "int8", "quantizer", "nested", "adapted")
    )
    strong = "".join(
        f"{scope} .{name} .band{{fill:var(--{name}-soft)}}"
        f"{scope} .{name} .path{{stroke-width:2.8;opacity:1}}"
        f"{scope} .{name} .point{{opacity:1}}"
        f"{scope} .{name} .whisker{{opacity:0}}"
        f"{scope} .{name}-name{{font-weight:650}}"
        for name in ("nested", "adapted")
    )
    return (
        f"{scope} text{{font-family:{FONT}}}"
        f"{scope} .grid{{stroke:var(--grid)}}"
        f"{scope} .mark{{stroke:var(--soft)}}"
        f"{scope} .tick,{scope} .axis{{fill:var(--soft)}}"
        f"{scope} .full{{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:5 4}}"
        f"{scope} .full-band{{fill:var(--ink);opacity:.05}}"
        f"{scope} .path{{fill:none;stroke-width:1.3;opacity:.65}}"
        f"{scope} .whisker{{stroke-width:1;opacity:.3}}"
        f"{scope} .point{{opacity:.8}}"
        f"{scope} .touch{{fill:transparent}}"
        f"{families}{strong}"
        f"{scope} .name{{paint-order:stroke;stroke:var(--paper);stroke-width:4px;"
        "stroke-linejoin:round}"
        f"{scope} .full-name{{fill:var(--ink)}}"
        f"{scope} .adapted-chosen{{--chosen:var(--adapted)}}"
        f"{scope} .drop{{stroke:var(--chosen,var(--nested));stroke-dasharray:2 3}}"
        f"{scope} .ring{{fill:none;stroke:var(--chosen,var(--nested));stroke-width:2}}"
        f"{scope} .tag{{fill:var(--chosen,var(--nested))}}"
        f"{scope} .tag-text{{fill:var(--paper);font-weight:600}}"
    )


PAGE = f"""
{COLORS}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 {FONT};
  font-variant-numeric:tabular-nums}}
main{{max-width:1008px;margin:0 auto;padding:40px 24px 72px}}
h1{{font-size:30px;line-height:1.2;letter-spacing:-.015em;margin:0 0 6px;font-weight:650}}
h2{{font-size:20px;line-height:1.3;letter-spacing:-.005em;margin:52px 0 12px;font-weight:650}}
h3{{font-size:16px;margin:28px 0 10px;font-weight:600}}
p{{margin:0 0 12px;max-width:72ch}}
.soft{{color:var(--soft)}}
.lead{{color:var(--soft);margin-bottom:26px}}
.verdict{{font-size:20px;line-height:1.45;max-width:62ch;margin:0 0 4px}}
.adapted-chosen{{--chosen:var(--adapted);--chosen-soft:var(--adapted-soft)}}
.verdict strong{{color:var(--chosen,var(--nested));font-weight:650}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:1px;
  background:var(--rule);border:1px solid var(--rule);border-radius:10px;overflow:hidden;
  margin:26px 0 0}}
.tiles div{{background:var(--paper);padding:14px 16px}}
.tiles dt{{font-size:13px;color:var(--soft)}}
.tiles dd{{margin:2px 0 0;font-size:22px;font-weight:600;letter-spacing:-.01em}}
.tiles dd small{{display:block;font-size:13px;font-weight:400;color:var(--soft);letter-spacing:0}}
.warn{{background:var(--warn-ground);color:var(--warn);border-radius:10px;padding:12px 16px;
  margin:22px 0 0;max-width:none}}
.warn ul{{margin:0;padding-left:18px}}
figure{{margin:0}}
figcaption{{font-size:14px;color:var(--soft);margin-top:8px;max-width:80ch}}
.key{{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:14px;margin:0 0 6px;padding:0;
  list-style:none;color:var(--soft)}}
.key i{{display:inline-block;width:18px;height:3px;border-radius:2px;margin-right:7px;
  vertical-align:middle}}
.chart{{display:block;width:100%;height:auto}}
.chart.narrow{{display:none}}
{chart_style(".chart")}
.scroll{{overflow-x:auto;-webkit-overflow-scrolling:touch}}
.scroll+.scroll{{margin-top:32px}}
table{{border-collapse:collapse;width:100%;font-size:15px}}
caption{{text-align:left;color:var(--soft);font-size:14px;padding-bottom:8px}}
th,td{{padding:7px 18px 7px 0;text-align:left;vertical-align:baseline;
  border-bottom:1px solid var(--rule)}}
th:last-child,td:last-child{{padding-right:4px}}
thead th{{font-weight:500;font-size:13px;color:var(--soft);white-space:nowrap}}
tbody th{{font-weight:500}}
.num{{text-align:right;white-space:nowrap}}
td small,th small{{color:var(--soft);font-size:13px;font-weight:400;margin-left:10px}}
tr.is-chosen>*{{background:var(--chosen-soft,var(--nested-soft));font-weight:600}}
tr.is-chosen>:first-child{{box-shadow:inset 3px 0 var(--chosen,var(--nested));padding-left:10px}}
details{{margin-top:18px}}
summary{{cursor:pointer;color:var(--soft);font-size:15px}}
summary:focus-visible{{outline:2px solid var(--nested);outline-offset:3px;border-radius:3px}}
details[open] summary{{margin-bottom:12px}}
.question{{margin:0 0 36px}}
.question h3{{margin-top:0;font-size:17px;max-width:70ch}}
.readings{{display:grid;grid-template-columns:repeat(auto-fit,minmax(240px,1fr));gap:20px}}
.reading h4{{margin:0 0 6px;font-size:14px;font-weight:600}}
.reading h4 span{{color:var(--soft);font-weight:400}}
.reading ol{{margin:0;padding:0;list-style:none;counter-reset:hit;font-size:14px;line-height:1.4}}
.reading li{{counter-increment:hit;display:grid;grid-template-columns:20px 1fr;
  padding:6px 0;border-top:1px solid var(--rule)}}
.reading li::before{{content:counter(hit);color:var(--soft)}}
.reading li.differs{{color:var(--soft)}}
.reading li.pictured{{grid-template-columns:20px 76px 1fr;gap:0 10px}}
.reading li.pictured::before{{margin-right:-10px}}
.reading li div{{overflow-wrap:anywhere;min-width:0}}
.question img{{display:block;width:76px;height:76px;object-fit:cover;border-radius:6px;
  background:var(--panel)}}
.question h3 img{{margin:0 0 8px;width:96px;height:96px}}
.badge{{font-size:12px;white-space:nowrap;border-radius:4px;padding:0 5px;margin-right:5px;
  border:1px solid var(--rule);color:var(--soft)}}
.badge.relevant{{color:var(--paper);background:var(--good);border-color:var(--good)}}
dl.notes{{display:grid;grid-template-columns:minmax(110px,180px) 1fr;gap:8px 20px;margin:0;
  font-size:15px}}
dl.notes dt{{color:var(--soft)}}
dl.notes dd{{margin:0;max-width:72ch;overflow-wrap:anywhere}}
pre{{background:var(--panel);border-radius:8px;padding:12px 14px;font-size:14px;margin:0;
  white-space:pre-wrap;overflow-wrap:anywhere;
  font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}}
footer{{margin-top:56px;padding-top:16px;border-top:1px solid var(--rule);font-size:14px;
  color:var(--soft)}}
@media (max-width:640px){{
  main{{padding:24px 16px 48px}}
  h1{{font-size:25px}} h2{{margin-top:40px}} .verdict{{font-size:18px}}
  .chart.wide{{display:none}} .chart.narrow{{display:block}}
  .tiles{{grid-template-columns:1fr 1fr}} .tiles dd{{font-size:19px}}
  dl.notes{{grid-template-columns:1fr;gap:0}} dl.notes dd{{margin-bottom:10px}}
  th,td{{padding-right:12px}} table{{font-size:15px}}
  td small,th small{{display:block;margin:0}}
}}
@media print{{main{{max-width:none;padding:0}} details>*{{display:block}}}}
"""


def number(value: float) -> str:
    """Three decimals without the leading zero: .679, -.004, 1.000."""
    text = f"{value:.3f}"
    if float(text) == 0.0:
        return ".000"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
