"""The page's style sheet and the policy that lets a browser use it and nothing else."""

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;
--back:#f4f5f7;--card:#fff;--ink:#16191d;--soft:#545c66;--line:#d9dde2;--link:#0b57b7;--code:#eceff2;
--fault:#c62828;--charging:#0a7d43;--waiting:#b26a00;--free:#3a6fb5;--offline:#6b7280;--unknown:#7a4bb0;
--alarm:#fdecea;--note:#fff5e0;--area:#0a7d4333;--edge:#0a7d43}
@media(prefers-color-scheme:dark){:root{
--back:#111418;--card:#1b2026;--ink:#e8eaed;--soft:#a7b0ba;--line:#343b44;--link:#8ab8ff;--code:#2a3139;
--fault:#ff7b72;--charging:#45c882;--waiting:#f0a83c;--free:#7fb0f5;--offline:#9aa3ae;--unknown:#c39bf0;
--alarm:#3a1f20;--note:#352b18;--area:#45c88240;--edge:#45c882}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--back);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
header,main,footer{max-width:76rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.25rem}
h1{font-size:1.35rem;line-height:1.25;margin:0}
h2{font-size:1.15rem;line-height:1.3;margin:2rem 0 .25rem}
h3{font-size:1.05rem;line-height:1.3;margin:0}
p{margin:.25rem 0}
a{color:var(--link)}
small,.soft,dt,th{color:var(--soft)}
small,.soft{font-size:.875rem}
code{background:var(--code);border-radius:.25rem;padding:.1em .35em;
font:.875em ui-monospace,Menlo,Consolas,monospace}
.command{margin:.5rem 0}
.command code{display:block;padding:.5rem .65rem;font-size:.9rem}
.command span{display:inline-block;max-width:100%}
.lead{font-size:1.05rem;margin:.35rem 0 0}
.trouble,.fine{background:var(--card);border:1px solid var(--line);border-left:.4rem solid var(--charging);
border-radius:.6rem;padding:.7rem .9rem;margin:.75rem 0}
.trouble{background:var(--note);border-left-color:var(--waiting)}
.urgent{background:var(--alarm);border-left-color:var(--fault)}
.trouble h2{font-size:1.05rem;margin:0 0 .15rem}
.concerns{font-weight:600}
ul{list-style:none;margin:0;padding:0}
.cards{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));
align-items:start;margin:.75rem 0}
.card{background:var(--card);border:1px solid var(--line);border-left:.4rem solid var(--unknown);
border-radius:.6rem;padding:.75rem .9rem;min-width:0}
.fault{border-left-color:var(--fault)}.charging{border-left-color:var(--charging)}
.waiting{border-left-color:var(--waiting)}.free{border-left-color:var(--free)}
.offline{border-left-color:var(--offline)}
.old{border-style:dashed;border-left-style:double}
.state{font-size:1.15rem;font-weight:650;line-height:1.3;margin:.15rem 0 .35rem}
.facts{margin:0}
.facts div{display:flex;gap:.75rem;justify-content:space-between;padding:.2rem 0;
border-top:1px solid var(--line)}
.facts div:first-child{border-top:0}
dt{font-size:.875rem;flex:none;max-width:45%}
dd{margin:0;text-align:right;min-width:0}
.totals{display:flex;flex-wrap:wrap;gap:.35rem 1.4rem;margin:.35rem 0}
.totals dd{text-align:left;font-weight:600}
.totals dt{max-width:none}
.day{display:block;width:100%;height:2.75rem;margin-top:.6rem;overflow:visible}
.axis{display:flex;justify-content:space-between;margin-top:.2rem}
.axis,figcaption,.fineprint{color:var(--soft);font-size:.8125rem;line-height:1.4}
.fineprint{margin:.5rem 0 0;padding-top:.4rem;border-top:1px solid var(--line)}
.day path{vector-effect:non-scaling-stroke;stroke-width:1}
.quarters{fill:none;stroke:var(--line)}
.power{fill:var(--area);stroke:var(--edge)}
figure{margin:0}
details.card{padding:0}
summary{cursor:pointer;padding:.55rem .9rem}
details .inner{padding:0 .9rem .75rem}
summary h3{display:inline;margin-right:.4rem}
summary .state{font-size:1rem}
.more{margin-top:.4rem}
.more summary{padding:.25rem 0;color:var(--soft);font-size:.875rem}
.sessions{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.25rem .9rem;
margin:.75rem 0}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.4rem 1rem .4rem 0;vertical-align:top;overflow-wrap:break-word}
.long{min-width:5.5rem;overflow-wrap:anywhere}
th{font-size:.875rem;font-weight:500}
tbody td{border-top:1px solid var(--line)}
th:last-child,td:last-child{padding-right:0}
.num{text-align:right;white-space:nowrap}
.links{display:flex;flex-wrap:wrap;gap:.35rem 1.25rem;margin:.5rem 0}
.links a{padding:.3rem 0;display:inline-block}
.docs{margin:.5rem 0}
footer{padding-bottom:2rem}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
@media(max-width:40rem){.wide{display:none}
table{font-size:.9rem}th,td{padding-right:.6rem}}
@media print{body{background:#fff}.card,.trouble{break-inside:avoid}}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
