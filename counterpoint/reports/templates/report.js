// The report: cells are unpacked when they are opened, tables are sorted and filtered, links lead into closed parts.
(() => {
  "use strict";
  const { draw, inflated } = window.counterpoint;
  const PAUSE = 120; // Milliseconds after the last key until a list is filtered.
  const opening = new Map(); // details -> the promise of its inside

  // The inside of a cell is markup of this page, packed: every text in it is escaped as in the rest of the page.
  function unpack(details) {
    if (!opening.has(details)) opening.set(details, unpacked(details));
    return opening.get(details);
  }

  async function unpacked(details) {
    const packed = details.querySelector(":scope > .packed");
    const inside = details.querySelector(":scope > .inside");
    try {
      const parsed = new DOMParser().parseFromString(await inflated(packed.textContent), "text/html");
      inside.replaceChildren(...parsed.body.childNodes);
    } catch (error) {
      inside.textContent = `This cell could not be opened: ${error.message}`;
      return;
    }
    packed.remove();
    draw(inside);
  }

  for (const details of document.querySelectorAll("details[data-inflate]")) {
    details.addEventListener("toggle", () => {
      if (details.open) unpack(details);
    });
  }

  // A link to a part of a cell: the name of the part begins with the name of the cell.
  async function go(name) {
    if (!name) return;
    const cell = [...document.querySelectorAll("details.cell")].find((one) => name === one.id || name.startsWith(`${one.id}-`));
    if (cell?.querySelector(":scope > .packed")) await unpack(cell);
    const target = document.getElementById(name) ?? cell;
    if (!target) return;
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (!cell) return;
    document.querySelectorAll(".aimed").forEach((one) => one.classList.remove("aimed"));
    if (target !== cell) target.classList.add("aimed");
    target.scrollIntoView();
  }

  const named = () => go(decodeURIComponent(window.location.hash.slice(1)));
  window.addEventListener("hashchange", named);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link && link.hash === window.location.hash) named();
  });
  named();

  function filter(box) {
    const place = document.getElementById(box.dataset.filter);
    const rows = [...(place.tBodies?.[0]?.rows ?? place.children)];
    const texts = rows.map((row) => (row.dataset.text ?? row.textContent).toLowerCase());
    const input = box.querySelector("input");
    box.hidden = false;
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, place) => (row.hidden = !words.every((word) => texts[place].includes(word))));
    };
    let waiting = 0;
    input.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(apply, PAUSE);
    });
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const isDown = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
        const of = (row) => row.cells[column].dataset.order ?? row.cells[column].textContent;
        const isEmpty = (text) => text === "";
        const rows = [...body.rows].sort((one, other) => {
          const [left, right] = [of(one), of(other)];
          if (isEmpty(left) || isEmpty(right)) return isEmpty(left) - isEmpty(right);
          const isNumber = row => row.cells[column].dataset.order !== undefined;
          const order = isNumber(one) && isNumber(other) ? Number(left) - Number(right) : compare(left, right);
          return isDown ? -order : order;
        });
        body.append(...rows);
      });
    });
  }

  document.querySelectorAll("[data-filter]").forEach(filter);
  document.querySelectorAll("table.sortable").forEach(sortable);
})();
