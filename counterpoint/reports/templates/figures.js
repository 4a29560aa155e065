// Figures: each is drawn by Vega when it comes into view, and again in the colours of another theme.
(() => {
  "use strict";
  const NARROW = 640;
  const ROOMY = 1000;
  const STEP = 100; // Pixels by which a wide place must change for its figure to be drawn again.
  const LEAST_SCALE = 0.8;
  const MOST_ROWS = 2000;
  const own = document.currentScript;
  const drawn = new WeakMap(); // figure -> {key, view}
  const queue = [];
  let library = null;
  let isDrawing = false;

  const json = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "{}");
  const once = (make) => {
    let kept;
    return () => (kept ??= make());
  };
  const themes = once(() => json("themes"));
  const specs = once(() => json("specs"));

  async function inflated(base64) {
    const bytes = Uint8Array.from(atob(base64.trim()), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Response(stream).text();
  }

  // The library is in the page, packed, or at the address that the tag of this script names; it runs when it is needed.
  function vega() {
    library ??= load();
    return library;
  }

  async function load() {
    const script = document.createElement("script");
    const packed = document.getElementById("vega");
    if (packed) {
      script.textContent = await inflated(packed.textContent);
      document.head.append(script);
    } else {
      const isLoaded = new Promise((resolve, reject) => {
        script.onload = resolve;
        script.onerror = () => reject(new Error("the library that draws cannot be loaded"));
      });
      script.src = own.dataset.vega;
      document.head.append(script);
      await isLoaded;
    }
    if (!window.vegaEmbed) throw new Error("the library that draws did not start");
    return window.vegaEmbed;
  }

  const textOf = (figure) => figure.querySelector(":scope > .figure-data")?.textContent ?? "";

  function rowsOf(columns) {
    const names = Object.keys(columns);
    const count = names.length ? columns[names[0]].length : 0;
    return Array.from({ length: count }, (_, row) => Object.fromEntries(names.map((name) => [name, columns[name][row]])));
  }

  // Panels that stand side by side stand below each other where there is no room, and a panel is no wider than the room.
  function fitted(spec, room) {
    if (Array.isArray(spec)) return spec.map((one) => fitted(one, room));
    const copy = { ...spec };
    if (copy.width === "container") copy.autosize ??= { type: "fit-x", contains: "padding" };
    if (typeof copy.width === "number" && copy.width > room - 90) copy.width = Math.max(180, room - 90);
    if (room < NARROW) {
      if (copy.hconcat) {
        copy.vconcat = copy.hconcat;
        delete copy.hconcat;
      }
      if (copy.columns > 1) copy.columns = 1;
    }
    for (const part of ["vconcat", "hconcat", "concat", "layer"]) if (copy[part]) copy[part] = fitted(copy[part], room);
    if (copy.spec && typeof copy.spec === "object") copy.spec = fitted(copy.spec, room);
    return copy;
  }

  const placeOf = (figure) => figure.querySelector(":scope > .drawing");

  // What a drawing depends on: the theme, the room that there is for it, and what is to be drawn.
  function keyOf(figure) {
    const room = placeOf(figure).clientWidth;
    const text = textOf(figure);
    return `${window.counterpoint.theme()} ${room < NARROW ? room : Math.floor(room / STEP) * STEP} ${text.length} ${text}`;
  }

  async function draw(figure) {
    const place = placeOf(figure);
    const room = place.clientWidth;
    if (!room) return;
    const key = keyOf(figure);
    if (drawn.get(figure)?.key === key) return scaled(place);
    const given = JSON.parse(textOf(figure));
    const spec = typeof given.spec === "string" ? specs()[given.spec] : given.spec;
    const datasets = Object.fromEntries(Object.entries(given.data).map(([name, columns]) => [name, rowsOf(columns)]));
    const embed = await vega();
    const fresh = document.createElement("div");
    fresh.className = "fresh";
    place.append(fresh);
    try {
      const result = await embed(fresh, { ...fitted(spec, room), datasets }, {
        actions: false,
        ast: true,
        config: { ...themes()[window.counterpoint.theme()], aria: false },
        defaultStyle: false,
        logLevel: 1, // Errors: warnings are for those who write a figure.
        renderer: "svg",
        tooltip: { disableDefaultStyle: true, theme: "own" },
      });
      drawn.get(figure)?.view?.finalize();
      drawn.set(figure, { key, view: result.view });
      place.replaceChildren(fresh);
      fresh.className = "drawn";
      scaled(place);
      if (keyOf(figure) !== key) want(figure); // The page changed while this was drawn.
    } finally {
      if (fresh.className === "fresh") fresh.remove();
    }
  }

  // A picture shrinks with the page as long as its text can be read, and then scrolls within its own frame.
  function scaled(place) {
    const svg = place.querySelector("svg");
    if (!svg) return;
    const width = Number(svg.getAttribute("width")) || 0;
    svg.setAttribute("aria-hidden", "true"); // The place itself has the name and the description.
    svg.style.maxWidth = "100%";
    svg.style.height = "auto";
    svg.style.minWidth = `${Math.floor(width * LEAST_SCALE)}px`;
    if (place.scrollWidth > place.clientWidth + 1) place.tabIndex = 0;
    else place.removeAttribute("tabindex");
  }

  function failed(figure, error) {
    const note = document.createElement("p");
    note.className = "failed";
    note.textContent = `This figure could not be drawn: ${error.message}. Its numbers are below.`;
    placeOf(figure).replaceChildren(note);
    console.error(error);
  }

  // One figure at a time, with a pause between two: the page answers in between.
  async function work() {
    if (isDrawing) return;
    isDrawing = true;
    while (queue.length) {
      const figure = queue.shift();
      if (figure.isConnected) await draw(figure).catch((error) => failed(figure, error));
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    isDrawing = false;
  }

  function want(figure) {
    if (!queue.includes(figure)) queue.push(figure);
    work();
  }

  const visible = new Set();
  const sight = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) {
          visible.add(target);
          want(target);
        } else visible.delete(target);
      }
    },
    { rootMargin: "150px 0px" },
  );

  const figuresIn = (root) => [...(root.matches?.("[data-figure]") ? [root] : []), ...root.querySelectorAll("[data-figure]")];

  // Where there is room and time, figures are drawn before they are looked at: the page can then be printed.
  function drawLater(figure) {
    if (window.innerWidth < ROOMY || figure.closest("details:not([open])")) return;
    (window.requestIdleCallback ?? setTimeout)(() => want(figure), { timeout: 5000 });
  }

  // A figure that is a picture already becomes one that answers to the pointer when a person turns to it.
  function upgrade(figure) {
    delete figure.dataset.static;
    sight.observe(figure);
  }

  // Every figure below `root` is drawn when it comes into view; a second call draws those whose data have changed.
  function drawAll(root = document) {
    for (const figure of figuresIn(root)) {
      if (figure.dataset.static === undefined) {
        sight.observe(figure);
        drawLater(figure);
      } else for (const name of ["pointerover", "touchstart"]) figure.addEventListener(name, () => upgrade(figure), { once: true, passive: true });
      if (visible.has(figure)) want(figure);
      const details = figure.querySelector(":scope > .numbers[data-fill]");
      if (details) details.addEventListener("toggle", () => fill(figure, details), { once: true });
    }
  }

  // `figure` shows what `fresh`, the same figure with other data, holds; its picture stays until the new one is drawn.
  function refresh(figure, fresh) {
    for (const part of ["figcaption", ".figure-data", ".numbers"]) {
      const [old, next] = [figure, fresh].map((one) => one.querySelector(`:scope > ${part}`));
      if (!old || !next || old.isEqualNode(next)) continue;
      if (old.open) next.open = true;
      old.replaceWith(next);
    }
    drawAll(figure);
  }

  function fill(figure, details) {
    const { data } = JSON.parse(textOf(figure));
    const columns = data.rows ?? Object.values(data)[0] ?? {};
    const names = Object.keys(columns);
    const rows = rowsOf(columns);
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const name of names) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      head.append(cell);
    }
    const body = table.createTBody();
    for (const row of rows.slice(0, MOST_ROWS)) {
      const line = body.insertRow();
      for (const name of names) {
        const cell = line.insertCell();
        cell.textContent = row[name] ?? "";
        if (typeof row[name] === "number") cell.className = "number";
      }
    }
    if (rows.length > MOST_ROWS) table.createCaption().textContent = `The first ${MOST_ROWS} of ${rows.length} rows`;
    const frame = document.createElement("div");
    frame.className = "wide";
    frame.tabIndex = 0;
    frame.append(table);
    details.append(frame);
  }

  document.addEventListener("counterpoint:theme", () => visible.forEach(want));
  let resized = 0;
  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => {
      visible.forEach(want);
      for (const svg of document.querySelectorAll(".drawing > .drawn svg")) {
        svg.style.minWidth = "0"; // It is no wider than its place until it is drawn again, which takes its time.
        want(svg.closest("[data-figure]"));
      }
    }, 150);
  });

  // Paper is light: a picture that was drawn for a dark page changes its colours until the page is printed.
  function recolour(from, to) {
    const colours = new Map(from.map((one, place) => [one.toLowerCase(), to[place]]));
    for (const part of document.querySelectorAll(".drawn [fill], .drawn [stroke]")) {
      for (const name of ["fill", "stroke"]) {
        const found = colours.get(part.getAttribute(name)?.toLowerCase());
        if (found) part.setAttribute(name, found);
      }
    }
  }

  const palette = (theme) => json("palettes")[theme] ?? [];
  window.addEventListener("beforeprint", () => {
    if (window.counterpoint.theme() === "dark") recolour(palette("dark"), palette("light"));
  });
  window.addEventListener("afterprint", () => {
    if (window.counterpoint.theme() === "dark") recolour(palette("light"), palette("dark"));
  });

  window.counterpoint = { ...window.counterpoint, draw: drawAll, refresh, inflated };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => drawAll());
  else drawAll();
})();
