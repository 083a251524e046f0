// Links what belongs together. An element has a name (data-id) and the names of others (data-to): l3 a line of
// the picture, n12 operations there, k5 a kernel, s a line of the source. Without it the page says the same.
// What is clicked or tapped stays lit, and its title is written below the page: a finger cannot point.
(() => {
  const root = document.currentScript.closest(".sg");
  const all = [...root.querySelectorAll("[data-id],[data-to]")].map(e => (
    {e, id: e.dataset.id || "", to: (e.dataset.to || "").split(" ").filter(Boolean)}));
  const by = new Map(all.map(x => [x.e, x]));
  const note = root.querySelector(".note");
  const titleOf = e => e.title || (e.querySelector("[title]") || {}).title
    || (e.querySelector("title") || {}).textContent || "";
  const nameOf = e => (e.querySelector("text") || {}).textContent || "";
  let pinned = null;
  const tell = x => {
    note.replaceChildren();
    note.classList.toggle("lit", !!x);
    if (!x) return;
    const words = x.e.querySelector(".at") ? [x.e.innerText.trim().replace(/\s+/g, " ")]
      : x.e.matches("g.line") ? [...x.e.querySelectorAll("text")].map(t => t.textContent) : [nameOf(x.e)];
    const title = titleOf(x.e);
    note.append([...words, ...(title && title !== words[0] ? [title] : [])].join(": ") + " ");
    const told = new Set([nameOf(x.e)]);
    for (const y of all) {
      const name = y.e.matches(".pill.lit") ? nameOf(y.e) : "";
      if (!name || told.has(name) || told.size > 16 || !y.e.getClientRects().length) continue;
      told.add(name);
      const link = document.createElement("a");
      link.href = "#graph";
      link.textContent = name;
      link.onclick = event => { event.preventDefault(); event.stopPropagation(); y.e.scrollIntoView({block: "center", inline: "center"}); };
      note.append(link, " ");
    }
  };
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
    if (event.target.closest(".note")) return;
    pinned = x && x !== pinned && !event.target.closest("summary") ? x : null;
    show(pinned);
    tell(pinned);
  });
  root.addEventListener("keydown", event => {
    if (event.key === "Escape") { pinned = null; show(null); tell(null); }
  });
  for (const box of root.querySelectorAll(".canvas")) {
    // of the two pictures, for screens and for phones, the one that is shown
    const shown = () => [...box.querySelectorAll("svg")].find(e => e.clientWidth) || box.querySelector("svg");
    const wide = () => shown().viewBox.baseVal.width;
    let scale = 1;
    const zoom = (to, x = box.clientWidth / 2, y = box.clientHeight / 2) => {
      const next = Math.min(Math.max(to, 0.15), 4), by = next / scale;
      const left = (box.scrollLeft + x) * by - x, top = (box.scrollTop + y) * by - y;
      scale = next;
      shown().style.width = wide() * scale + "px";
      box.scrollTo(left, top);
    };
    // letters of 16 pixels, of 12, or of 11 on a telephone
    const least = () => innerWidth >= 1600 ? 1.34 : innerWidth >= 800 ? 1 : 0.92;
    const fit = () => zoom(Math.max((box.clientWidth - 2) / wide(), least()), 0, 0);
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
    let width = 0; // of the window: a telephone's changes when it is turned
    const turn = () => { if (innerWidth !== width) { width = innerWidth; fit(); } };
    addEventListener("resize", turn);
    turn();
  }
})();
