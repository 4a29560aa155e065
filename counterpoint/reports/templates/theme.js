// The theme of the page: that of the system until a person chooses, then the one that was chosen.
(() => {
  "use strict";
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const allowed = ["light", "dark"];
  let chosen = null;
  try {
    chosen = window.localStorage.getItem("counterpoint-theme");
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
  if (!allowed.includes(chosen)) chosen = null;

  const now = () => chosen ?? (dark.matches ? "dark" : "light");

  function apply() {
    if (chosen) root.dataset.theme = chosen;
    document.dispatchEvent(new CustomEvent("counterpoint:theme", { detail: now() }));
  }

  function toggle() {
    chosen = now() === "dark" ? "light" : "dark";
    try {
      window.localStorage.setItem("counterpoint-theme", chosen);
    } catch {
      // As above.
    }
    apply();
  }

  root.dataset.script = "on"; // Parts that need a script are shown.
  window.counterpoint = { ...window.counterpoint, theme: now };
  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("click", (event) => {
    if (event.target.id === "theme") toggle();
  });
})();
