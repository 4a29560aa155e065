// Keys for readers of episodes. Everything that they do is a link or a summary on the page too.
(() => {
  "use strict";
  const isTyping = (target) => target instanceof Element && target.closest("input, select, textarea, [contenteditable]");

  function step(by) {
    const calls = [...document.querySelectorAll("[data-call]")].filter((call) => call.getClientRects().length > 0);
    if (!calls.length) return;
    const now = document.activeElement instanceof Element ? document.activeElement.closest("[data-call]") : null;
    const place = calls.indexOf(now);
    const next = place < 0 ? (by > 0 ? 0 : calls.length - 1) : place + by;
    const call = calls[Math.min(Math.max(next, 0), calls.length - 1)];
    call.focus({ preventScroll: true });
    call.scrollIntoView({ block: "nearest" });
  }

  function help() {
    const keys = document.querySelector("details.keys");
    if (!keys) return;
    keys.open = !keys.open;
    if (keys.open) keys.scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
    else if (event.key === "?") help();
    else if (/^[1-9np]$/.test(event.key)) {
      const link = document.querySelector(`a[data-key="${event.key}"]`);
      if (!link) return;
      link.click();
    } else return;
    event.preventDefault();
  });
})();
