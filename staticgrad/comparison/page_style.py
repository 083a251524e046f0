"""The style sheet of the page, and its one script, which reacts to the pointer.

The script links what belongs together. An element has a name (``data-id``) and the names of others
(``data-to``): ``l3`` a line of the picture, ``n12`` operations there, ``k5`` a kernel,
``s`` a line of the source. Without the script the page says the same, unlinked.
"""

from __future__ import annotations

from typing import Final

STYLE: Final = """
body { margin: 0; background: #fff; } html { scroll-behavior: smooth; }
@media (prefers-color-scheme: dark) { body { background: #15171b; } }
main { max-width: 74rem; margin: 0 auto; padding: 1.2rem 1.2rem 6rem; }
nav { position: sticky; top: 0; z-index: 2; background: inherit; padding: .5rem 1.2rem;
  border-bottom: 1px solid var(--rule); display: flex; gap: 1.1rem; overflow-x: auto;
  white-space: nowrap; font-size: .92rem; }
body > .sg > nav { background: #fffe; } nav a { color: var(--soft); text-decoration: none; }
nav a:hover { color: var(--ink); }
@media (prefers-color-scheme: dark) { body > .sg > nav { background: #15171bee; } }
.sg h1 { font-size: 2rem; margin: 1rem 0 .2rem; line-height: 1.2; }
.sg h2 { font-size: 1.35rem; margin: 3rem 0 .4rem; scroll-margin-top: 3.2rem; }
.sg h3 { font-size: 1.05rem; margin: 1.4rem 0 .3rem; }
.sg p.why, .sg p.sub { color: var(--soft); margin: .2rem 0 .9rem; max-width: 52rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr));
  gap: 1rem 1.6rem; }
.sg p.alarm { border-left: 4px solid var(--b); padding-left: .8rem; max-width: 52rem; }
.act { border: 1px solid var(--rule); border-radius: 10px; margin: 1rem 0; padding: .9rem 1rem; }
.act h3 { margin: 0 0 .5rem; } .act pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.act .tape { border-left: 3px solid var(--w); padding-left: .7rem; }
.act .graph { border-left: 3px solid var(--f); padding-left: .7rem; } .act p { margin: .5rem 0 0; }
.tools { display: flex; gap: .4rem; flex-wrap: wrap; margin: .4rem 0; align-items: center; }
.tools button { font: inherit; font-size: .9rem; color: inherit; background: var(--wash); border: 0;
  border-radius: 6px; padding: .25rem .7rem; cursor: pointer; }
.tools .f::before, .tools .b::before, .tools .u::before, .tools .k::before { content: "";
  display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin: 0 .35em 0 .7em; }
.tools .f::before { background: var(--f); } .tools .b::before { background: var(--b); }
.tools .u::before { background: var(--u); } .tools .k::before { background: var(--k); }
.canvas { overflow: auto; max-height: 82vh; border: 1px solid var(--rule); border-radius: 10px;
  background: inherit; } .canvas svg { max-width: none; } .canvas:fullscreen { max-height: none;
  background: #fff; }
@media (prefers-color-scheme: dark) { .canvas:fullscreen { background: #15171b; } }
.source { overflow-x: auto; border: 1px solid var(--rule); border-radius: 10px; padding: .5rem 0; }
.source div { display: grid; grid-template-columns: 3.2rem 9rem 1fr; gap: .6rem; padding: 0 .8rem;
  font: 13px/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre; }
.source .at { color: var(--soft); text-align: right; } .source .dark { opacity: .55; }
.source .cost { display: flex; height: .7em; align-self: center; }
.source .cost i { display: block; } .source i.f { background: var(--f); }
.source i.b { background: var(--b); } .source .file { color: var(--soft); display: block; }
.linked [data-to], .linked [data-id] { transition: opacity .12s; }
.linked.dim .pill:not(.lit), .linked.dim .edge:not(.lit) { opacity: .16; }
.linked .edge.lit { stroke-opacity: 1; stroke: var(--ink); stroke-width: 1.6; }
.linked .pill.lit rect { fill-opacity: .42; stroke-width: 2; }
.source div.lit, .linked details.lit > summary { background: var(--wash); font-weight: 600; }
.linked g.line.lit text { font-weight: 700; }
@media (min-width: 80rem) { .canvas { width: 96vw; margin-left: calc(50% - 48vw); } }
@media (min-width: 100rem) { body > .sg { font-size: 18px; } main { max-width: 88rem; }
  .source div { font-size: 16px; } .act pre, .sg pre { font-size: 15px; } }
@media (max-width: 40rem) { .sg h1 { font-size: 1.5rem; } main { padding: .6rem .8rem 4rem; }
  .source div { grid-template-columns: 2.4rem 3.5rem 1fr; font-size: 12px; }
  .sg .figure b { font-size: 1.6rem; } }
@media print { nav, .tools button { display: none; } .canvas { max-height: none; } }
"""

SCRIPT: Final = """
(() => {
  const root = document.currentScript.closest(".sg");
  const all = [...root.querySelectorAll("[data-id],[data-to]")].map(e => (
    {e, id: e.dataset.id || "", to: (e.dataset.to || "").split(" ").filter(Boolean)}));
  const by = new Map(all.map(x => [x.e, x]));
  let pinned = null;
  const show = x => {
    root.classList.toggle("dim", !!x);
    const near = x ? new Set([x.id, ...x.to]) : new Set();
    for (const y of all) {
      const reads = y.to.includes(x && x.id), same = near.has(y.id);
      const hub = x && (x.id[0] !== "n" || y.id[0] === "s") && y.to.some(t => near.has(t));
      y.e.classList.toggle("lit", !!x && (same || reads || hub) && (y.id !== "" || reads));
    }
  };
  const of = target => {
    const e = target.closest && target.closest("[data-id]");
    return e && by.get(e) || null;
  };
  root.addEventListener("pointerover", event => { if (!pinned) show(of(event.target)); });
  root.addEventListener("click", event => {
    const x = of(event.target);
    pinned = x && x !== pinned && !event.target.closest("summary") ? x : null;
    show(pinned);
  });
  root.addEventListener("keydown", event => {
    if (event.key === "Escape") { pinned = null; show(null); }
  });
  for (const box of root.querySelectorAll(".canvas")) {
    const svg = box.querySelector("svg"), wide = svg.viewBox.baseVal.width;
    let scale = 1;
    const zoom = (to, x = box.clientWidth / 2, y = box.clientHeight / 2) => {
      const next = Math.min(Math.max(to, 0.15), 4), by = next / scale;
      const left = (box.scrollLeft + x) * by - x, top = (box.scrollTop + y) * by - y;
      scale = next;
      svg.style.width = wide * scale + "px";
      box.scrollTo(left, top);
    };
    // letters of 16 pixels, of 12, or of 8 on a telephone
    const least = innerWidth >= 1600 ? 1.34 : innerWidth >= 800 ? 1 : 0.7;
    const fit = () => zoom(Math.max((box.clientWidth - 2) / wide, least), 0, 0);
    const tools = box.previousElementSibling;
    tools.addEventListener("click", event => {
      const what = event.target.dataset.zoom;
      if (what === "fit") fit();
      else if (what === "full") box.requestFullscreen && box.requestFullscreen();
      else if (what) zoom(scale * Number(what));
    });
    box.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const at = box.getBoundingClientRect();
      zoom(scale * Math.exp(-event.deltaY / 300), event.clientX - at.left, event.clientY - at.top);
    }, {passive: false});
    let drag = null;
    box.addEventListener("pointerdown", event => {
      if (event.pointerType === "mouse") drag = [event.clientX, event.clientY];
    });
    addEventListener("pointermove", event => {
      if (!drag) return;
      box.scrollBy(drag[0] - event.clientX, drag[1] - event.clientY);
      drag = [event.clientX, event.clientY];
    });
    addEventListener("pointerup", () => { drag = null; });
    fit();
  }
})();
"""
