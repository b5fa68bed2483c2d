"""The style sheet of report.html: readable on a phone, on a desk and in print. Colour is never the only sign."""

CSS = """
:root{--ink:#1f2937;--soft:#6b7280;--line:#e5e7eb;--go:#166534;--no:#991b1b;--open:#854d0e}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:68rem;margin:0 auto;padding:1rem}
header{border-left:.5rem solid var(--open);padding:.5rem 1rem;background:#f9fafb}
header.go{border-color:var(--go)}header.no-go{border-color:var(--no)}
header h1{margin:.1rem 0;font-size:2.6rem;line-height:1.1;letter-spacing:.02em}
header.go h1{color:var(--go)}header.no-go h1{color:var(--no)}header.open h1{color:var(--open)}
.kicker,.note,figcaption,caption{color:var(--soft);font-size:.9rem}
h2,h3{break-after:avoid}h2{margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
h3{margin:1.5rem 0 .25rem}h4{margin:0;font-size:.85rem;color:var(--soft);font-weight:600}
li{margin:.4rem 0;overflow-wrap:anywhere}
.word{border:1px solid currentColor;border-radius:.2rem;padding:0 .3rem;font-size:.8rem}
.warn{border-left:.25rem solid var(--open);padding-left:.75rem}
.hinges{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:1rem;margin:0}
.hinges dt{font-size:1.6rem;font-weight:700}.hinges dd{margin:0}
.table{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;width:100%;font-size:.88rem}
caption{text-align:left;padding:.25rem 0;font-weight:600}
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;min-width:3.5rem;overflow-wrap:break-word}
th{white-space:nowrap}
.text{min-width:13rem}
.number{white-space:nowrap;font-variant-numeric:tabular-nums}
a{color:#1d4ed8;text-decoration-thickness:1px;text-underline-offset:2px}
figure{margin:1rem 0}img{max-width:100%;height:auto;display:block}
article{border:1px solid var(--line);border-radius:.4rem;padding:.5rem .75rem;margin:.75rem 0;break-inside:avoid}
article p{margin:.25rem 0;font-size:.85rem}
pre{margin:.1rem 0 .4rem;padding:.3rem .5rem;background:#f9fafb;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}
.sides{display:grid;grid-template-columns:1fr 1fr;gap:.75rem}
@media (max-width:600px){main{padding:.6rem}header h1{font-size:2rem}.sides{grid-template-columns:1fr}
thead{display:none}table,tbody,tr,td,caption{display:block}tr{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.2rem 0}
td{display:grid;grid-template-columns:8.5rem 1fr;border:0;padding:.1rem .5rem;min-width:0;overflow-wrap:anywhere}td:empty{display:none}
td::before{content:attr(data-label);color:var(--soft)}.number{white-space:normal}.text{min-width:0}}
@media print{.text{min-width:0}body{font-size:10.5pt}main{max-width:none;padding:0}.table{overflow:visible}table{font-size:7.5pt}.number{white-space:normal}tr,figure{break-inside:avoid}a{color:inherit}}
"""
