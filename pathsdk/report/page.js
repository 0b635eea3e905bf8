'use strict';
// Search in tables. Without this script every row is visible. What is searched
// for stands in the page's address (#q=otel), so that a view can be shared.
(() => {
  const keys = { packages: 'q', vulnerabilities: 'v', evidence: 'e' };
  const filters = [];

  const state = () => new URLSearchParams(location.hash.includes('=') ? location.hash.slice(1) : '');

  for (const box of document.querySelectorAll('[data-filter]')) {
    const name = box.dataset.filter;
    const input = box.querySelector('input');
    const count = box.querySelector('output');
    const rows = Array.from(document.querySelectorAll('#' + name + '-table > tbody > tr'), (row) => ({
      row, text: (row.textContent + ' ' + Array.from(row.querySelectorAll('[title]'), (x) => x.title).join(' ')).toLowerCase(),
    }));
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const r of rows) {
        const match = words.every((w) => r.text.includes(w));
        r.row.hidden = !match;
        shown += match ? 1 : 0;
      }
      count.textContent = words.length ? shown + ' of ' + rows.length : rows.length + (rows.length === 1 ? ' row' : ' rows');
      count.dataset.shown = shown;
    };
    input.addEventListener('input', () => { apply(); save(); });
    box.hidden = false;
    filters.push({ key: keys[name], section: document.getElementById(name), input, apply });
  }

  const save = () => {
    const s = new URLSearchParams();
    for (const f of filters) {
      if (f.input.value) s.set(f.key, f.input.value);
    }
    history.replaceState(null, '', s.size ? '#' + s : location.pathname + location.search);
  };

  const load = (scroll) => {
    if (location.hash && !location.hash.includes('=')) return apply();
    const s = state();
    let first = null;
    for (const f of filters) {
      f.input.value = s.get(f.key) || '';
      if (f.input.value && !first) first = f.section;
    }
    apply();
    if (scroll && first) first.scrollIntoView({ behavior: 'instant' });
  };
  const apply = () => { for (const f of filters) f.apply(); };

  addEventListener('hashchange', () => load(true));
  load(true);
})();
