"""How the page of the answer looks and what its buttons do: one style sheet and one script, both within the page."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2330;--soft:#5a6475;--line:#d9dee7;--wash:#f4f6fa;
--better:#00734c;--worse:#b3361b;--open:#5b6b86;--control:#1c2330;--margin:#e8ecf5;--better-wash:#e2f4ec;
--worse-wash:#fbe9e4}
@media (prefers-color-scheme:dark){:root{--paper:#14181f;--ink:#e7ebf2;--soft:#a3adbd;--line:#333c4a;--wash:#1c222c;
--better:#4fd09b;--worse:#ff8f73;--open:#9db0cf;--control:#fff;--margin:#232b39;--better-wash:#17362a;
--worse-wash:#40231b}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI",Roboto,"Liberation Sans",
"DejaVu Sans",sans-serif}
main,header{max-width:1180px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:17px;font-weight:600;color:var(--soft);margin:0}
.verdict{font-size:29px;line-height:1.28;font-weight:650;margin:8px 0 18px;letter-spacing:-.01em;overflow-wrap:anywhere}
.conditions{display:flex;flex-wrap:wrap;gap:6px 8px;margin:0 0 20px;padding:0;list-style:none;font-size:14px}
.conditions li{background:var(--wash);border:1px solid var(--line);border-radius:99px;padding:2px 12px}
.conditions b{font-weight:600}
h2{font-size:21px;margin:44px 0 6px;letter-spacing:-.005em}
h3{font-size:15px;margin:0 0 2px;font-weight:600}
p,.note{max-width:76ch}.note{color:var(--soft);font-size:14px;margin:0 0 14px}
ul.sentences{margin:0;padding:0;list-style:none;max-width:96ch}
ul.sentences li{padding:7px 0 7px 14px;border-left:4px solid var(--line);margin:6px 0;overflow-wrap:anywhere}
ul.sentences li.better{border-color:var(--better)}ul.sentences li.worse{border-color:var(--worse)}
summary{cursor:pointer;padding:6px 0;font-weight:600}
.filters{display:flex;flex-wrap:wrap;gap:12px 18px;align-items:end;margin:12px 0}
.filters label{display:grid;gap:2px;font-size:13px;color:var(--soft)}
.filters output{font-size:14px;color:var(--soft);padding-bottom:7px}
input,select{font:inherit;font-size:15px;padding:5px 9px;border:1px solid var(--line);border-radius:6px;
background:var(--paper);color:var(--ink);min-width:200px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding-bottom:8px}
th,td{padding:7px 10px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;white-space:nowrap}
th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}
tbody th{font-weight:600;white-space:normal;overflow-wrap:break-word;min-width:150px;max-width:260px}
thead th{vertical-align:bottom;border-bottom:2px solid var(--ink);padding:0 4px}
thead small{padding:0 6px 7px;white-space:normal}
thead button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:7px 6px 3px;cursor:pointer;
text-align:inherit;white-space:normal}
thead button::after{content:"\\2195";color:var(--soft);padding-left:5px;font-weight:400}
th[aria-sort=ascending] button::after{content:"\\2191";color:var(--ink)}
th[aria-sort=descending] button::after{content:"\\2193";color:var(--ink)}
button:focus-visible,input:focus-visible,select:focus-visible,summary:focus-visible{outline:3px solid var(--open)}
td small,th small{display:block;color:var(--soft);font-size:12.5px;font-weight:400}
td.better small,td.worse small{font-weight:600}
td.better{background:var(--better-wash)}td.worse{background:var(--worse-wash)}
td.better small{color:var(--better)}td.worse small{color:var(--worse)}
tr.control{background:var(--wash)}tr.baseline th,tr.baseline td{color:var(--soft);font-style:italic}
.tag{border-radius:5px;padding:1px 8px;border:1px solid var(--line);font-size:13px}
.tag.better{background:var(--better);border-color:var(--better);color:var(--paper);font-weight:600}
.tag.worse{border-color:var(--worse);color:var(--worse)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:26px 36px}
figure{margin:0;min-width:0}svg{max-width:100%;height:auto;display:block;font-size:12px}
svg text{fill:var(--ink)}svg .tick,svg .side{fill:var(--soft)}svg .axis{font-size:13px;font-weight:600}
svg .grid{stroke:var(--line);stroke-width:1}svg .zero{stroke:var(--ink);stroke-width:1.3}svg .margin{fill:var(--margin)}
g line{stroke-width:2}g circle,g path{stroke-width:2;fill:var(--paper)}
.open line,.open circle{stroke:var(--open)}
.better line,.better circle{stroke:var(--better)}.better circle{fill:var(--better)}
.worse line,.worse circle{stroke:var(--worse)}.worse circle{fill:var(--worse)}
.control line,.control path{stroke:var(--control)}.control path{fill:var(--control)}
.cross line{stroke-width:1;opacity:.35}
.curve polyline{fill:none;stroke-width:1.4;stroke:var(--open);opacity:.55}
.curve.better polyline{stroke:var(--better);stroke-width:2;opacity:1}
.curve.worse polyline{stroke:var(--worse);stroke-dasharray:5 3}
.curve.control polyline{stroke:var(--control);stroke-width:2.6;opacity:1}
.pictures td,.pictures th{text-align:left;border:0;padding:4px 8px 10px 0;vertical-align:top}
.pictures thead th{border-bottom:1px solid var(--line);font-weight:600}
.pictures img{display:block;max-width:340px;height:auto;image-rendering:pixelated}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;font-size:14px;max-width:96ch}
dt{font-weight:600}dd{margin:0}
footer{color:var(--soft);font-size:13px;max-width:1180px;margin:48px auto 40px;padding:0 24px}
@media (max-width:640px){dl{grid-template-columns:1fr}.verdict{font-size:23px}}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--wash:#f3f3f3;--better:#00573a;--worse:#8f2a14;
--open:#445;--control:#000;--margin:#eceff5;--better-wash:#e2f4ec;--worse-wash:#fbe9e4}
body{font-size:10pt}main,header,footer{max-width:none;padding:0}.filters,thead button::after{display:none}
thead button{display:contents}td small,th small{font-size:7pt}.tag{font-size:7.5pt}
.wide{overflow:visible}table{font-size:8pt}th,td{padding:3px 4px}thead{display:table-header-group}
tr,figure,li{break-inside:avoid}h2{break-after:avoid}.charts{grid-template-columns:1fr 1fr}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}@page{margin:14mm}}
"""

# Sorting moves the rows that are there; a filter only hides them. The count is read out when it changes.
SCRIPT = """
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const first = head.dataset.first ?? 'ascending';
    const other = first === 'ascending' ? 'descending' : 'ascending';
    const order = head.getAttribute('aria-sort') === first ? other : first;
    heads.forEach(each => each.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', order);
    const sign = order === 'ascending' ? 1 : -1;
    const sorted = [...body.rows].map(row => [key(row, column), row]).sort(([a], [b]) => {
      if (a === '' || b === '') return (a === '') - (b === '');
      const numbers = [Number(a), Number(b)];
      const areWords = numbers.some(Number.isNaN);
      return sign * (areWords ? a.localeCompare(b, undefined, {numeric: true}) : numbers[0] - numbers[1]);
    });
    body.append(...sorted.map(([, row]) => row));
  }));
}
const filters = document.querySelector('.filters');
if (filters) {
  const [text, verdict, shown] = ['#name', '#verdict', 'output'].map(what => filters.querySelector(what));
  const rows = [...document.querySelectorAll('tr[data-verdict]')];
  const apply = () => {
    const words = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const name = row.dataset.name.toLowerCase();
      row.hidden = !words.every(word => name.includes(word)) ||
        !(verdict.value === '' || row.dataset.verdict === verdict.value || row.dataset.verdict === 'control');
      if (!row.hidden && row.closest('#combinations')) count++;
    }
    shown.textContent = `${count} rows shown`;
  };
  text.addEventListener('input', apply);
  verdict.addEventListener('change', apply);
}
"""
