// The page of the viewer follows what runs write: the server says which parts changed, and these are fetched anew.
(() => {
  "use strict";
  const subject = JSON.parse(document.getElementById("subject")?.textContent ?? "null")?.path;
  if (!subject) return;
  const POLL = 5000;
  const RETRY = [1000, 2000, 4000, 8000];
  const said = document.getElementById("live");
  let stream = null;
  let timer = 0;
  let failures = 0;
  let isFetching = false;
  let isGone = false;
  let wanted = null;
  let later = 0;
  const PATIENCE = 4;
  const pause = new Map(); // part -> the time before which it is not fetched again
  let heard = Date.now();

  // Two trees are made alike with as few changes as can be: what has the focus, is open or is scrolled stays so.
  const keyOf = (node) => (node.nodeType === 1 ? node.id || null : null);
  const isAlike = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

  function attributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      const isOwn = name === "open" || (name === "tabindex" && !fresh.hasAttribute(name)) || name === "data-ago-at";
      if (!isOwn && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }

  function morph(old, fresh) {
    if (old.nodeType !== 1) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.matches("[data-figure]") && window.counterpoint.refresh) {
      window.counterpoint.refresh(old, document.adoptNode(fresh));
      return;
    }
    attributes(old, fresh);
    children(old, fresh);
  }

  function children(old, fresh) {
    const keyed = new Map([...old.children].filter(keyOf).map((node) => [keyOf(node), node]));
    let place = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const known = keyOf(next) ? keyed.get(keyOf(next)) : null;
      if (known && isAlike(known, next)) {
        if (known === place) place = place.nextSibling;
        else old.insertBefore(known, place);
        morph(known, next);
      } else if (place && !keyOf(place) && isAlike(place, next)) {
        const current = place;
        place = place.nextSibling;
        morph(current, next);
      } else old.insertBefore(document.adoptNode(next), place);
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
  }

  const partNamed = (name) => document.querySelector(`[data-part="${CSS.escape(name)}"]`);

  async function fetched(address, name) {
    const url = new URL(address, location.href);
    url.searchParams.set("part", name);
    const response = await fetch(url, { headers: { accept: "text/html" } });
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`status ${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("[data-part]");
    if (!fresh) throw new Error("the answer has no part");
    return fresh;
  }

  async function replace(name, address = location.href) {
    const fresh = await fetched(address, name);
    if (!fresh) return gone();
    const part = partNamed(name);
    if (!part) return;
    morph(part, fresh);
    window.counterpoint.draw?.(part);
    ago();
  }

  // The parts that have other versions than these, one after the other; what changes meanwhile is fetched after that.
  // A part that takes the server long is fetched less often, so that an open page costs a training little.
  async function follow(parts) {
    wanted = parts;
    if (isFetching) return;
    isFetching = true;
    try {
      while (wanted && !document.hidden) {
        const now = wanted;
        wanted = null;
        if (!Object.keys(now).length) return gone();
        isGone = false;
        alive();
        for (const [name, version] of Object.entries(now)) {
          if (document.hidden) break;
          if (partNamed(name)?.dataset.version === version) continue;
          const began = Date.now();
          const rest = (pause.get(name) ?? 0) - began;
          if (rest > 0) {
            clearTimeout(later);
            later = setTimeout(() => follow(now), rest);
            continue;
          }
          await replace(name);
          pause.set(name, Date.now() + PATIENCE * (Date.now() - began));
        }
      }
    } catch (error) {
      lost(error);
    } finally {
      isFetching = false;
    }
  }

  function say(text, state) {
    if (said.dataset.state === state && state !== "lost") return;
    said.dataset.state = state;
    if (said.textContent !== text) said.textContent = text;
  }

  function gone() {
    isGone = true;
    say("This is not there any more; the page is as it was last.", "gone");
  }

  function alive() {
    failures = 0;
    heard = Date.now();
    if (!isGone) say("", "live");
  }

  function lost() {
    stop();
    if (document.hidden) return;
    const time = new Date(heard).toLocaleTimeString();
    say(`The viewer does not answer; the page is as it was at ${time}.`, "lost");
    timer = setTimeout(start, RETRY[Math.min(failures++, RETRY.length - 1)]);
  }

  function stop() {
    clearTimeout(timer);
    clearTimeout(later);
    stream?.close();
    stream = null;
  }

  function start() {
    stop();
    if (document.hidden) return;
    const of = `?of=${encodeURIComponent(subject)}`;
    if (!window.EventSource) return poll(of);
    stream = new EventSource(`/events${of}`);
    stream.addEventListener("message", (event) => {
      alive();
      follow(JSON.parse(event.data).parts);
    });
    stream.addEventListener("ping", alive);
    stream.addEventListener("error", lost);
  }

  async function poll(of) {
    try {
      const response = await fetch(`/versions${of}`);
      if (!response.ok) throw new Error(`status ${response.status}`);
      alive();
      await follow((await response.json()).parts);
      if (!document.hidden) timer = setTimeout(() => poll(of), POLL);
    } catch (error) {
      lost(error);
    }
  }

  // Times as how long ago they are; the server writes them as times, so that a part changes only with its files.
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  function ago() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 1000));
      const [size, unit] = UNITS.find(([one]) => seconds >= one) ?? [1, "s"];
      const text = `${Math.floor(seconds / size)} ${unit} ago`;
      if (time.textContent !== text) time.textContent = text;
      time.title = time.dateTime;
    }
  }

  // The table of runs is searched and sorted without leaving the page.
  const filters = document.querySelector("form[data-filters]");
  let typing = 0;
  async function show(address) {
    try {
      await replace("runs", address);
      history.replaceState(null, "", address);
    } catch {
      location.assign(address);
    }
  }
  function filtered() {
    const query = new URLSearchParams(new FormData(filters));
    for (const [name, value] of [...query]) if (!value) query.delete(name);
    const sort = new URL(location.href).searchParams.get("sort");
    if (sort) query.set("sort", sort);
    return show(`${location.pathname}${query.size ? `?${query}` : ""}`);
  }
  if (filters) {
    filters.addEventListener("submit", (event) => {
      event.preventDefault();
      filtered();
    });
    filters.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(filtered, 150);
    });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-sort]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      show(link.href);
    });
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => event.persisted && start());
  setInterval(() => document.hidden || ago(), 1000);
  ago();
  start();
})();
