// What a page without Quarto can do beyond showing its text: the theme, folds for small screens, copy buttons,
// and the search. Runs from file:// as well, so it loads everything by <script>.
(() => {
  "use strict";
  const root = document.documentElement;
  const assets = new URL(".", document.currentScript.src);
  const find = (selector, place = document) => place.querySelector(selector);
  const all = (selector, place = document) => [...place.querySelectorAll(selector)];
  const make = (tag, text, ...more) => {
    const node = document.createElement(tag);
    node.append(text, ...more);
    return node;
  };

  // --- theme: what the reader chose, or what the system says ---

  const theme = find("button.theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => {
    try { return localStorage.getItem("cxr-theme"); } catch { return null; }
  };
  const paint = (dark) => {
    root.dataset.bsTheme = dark ? "dark" : "light";
    theme.textContent = dark ? "Light" : "Dark"; // what a click makes of the page
    theme.setAttribute("aria-label", `${theme.textContent} theme`);
  };
  paint(kept() ? kept() === "dark" : system.matches);
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = root.dataset.bsTheme !== "dark";
    paint(dark);
    try { localStorage.setItem("cxr-theme", dark ? "dark" : "light"); } catch { /* not allowed */ }
  });
  system.addEventListener("change", () => kept() ?? paint(system.matches));

  // --- contents and table of contents: open beside the text, folded above it ---

  for (const [selector, width] of [[".side", "60rem"], [".toc", "78rem"]]) {
    const fold = find(selector);
    if (!fold) continue;
    const wide = matchMedia(`(min-width: ${width})`);
    const set = () => { fold.open = wide.matches; };
    wide.addEventListener("change", set);
    set();
  }
  const current = find(".side [aria-current]");
  const box = find(".side");
  if (current) box.scrollTop = current.offsetTop - box.offsetTop - box.clientHeight / 2;

  // --- a box that scrolls can be reached by keyboard; one that does not need not be ---

  const scrolls = (node) => {
    if (node.scrollWidth > node.clientWidth + 1) node.tabIndex = 0;
    else node.removeAttribute("tabindex");
  };
  const watch = new ResizeObserver((changes) => changes.forEach(({ target }) => scrolls(target)));
  all(".table-box, .math, pre.output").forEach((node) => watch.observe(node));

  // --- copy buttons ---

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", text);
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  for (const block of all(".highlight")) {
    const button = make("button", "Copy");
    button.type = "button";
    button.className = "copy";
    button.setAttribute("aria-label", "Copy code");
    button.addEventListener("click", async () => {
      await copy(find("pre", block).textContent.trimEnd());
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.prepend(button);
  }

  // --- search: library and index are loaded when the box is first used ---

  const form = find("form.search");
  const input = find("#query");
  const results = find(".results");
  const said = find("#found");
  const list = find("ol", results);
  const here = new URL("..", assets);
  let index = null;

  const load = (name) => new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(name, assets);
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${name} is missing`));
    document.head.append(script);
  });
  async function prepare() {
    await Promise.all([load("minisearch.js"), load("search-index.js")]);
    const made = new MiniSearch({
      fields: ["heading", "page", "text"],
      storeFields: ["link", "heading", "page", "text"],
      searchOptions: { boost: { heading: 4, page: 3 }, prefix: true, combineWith: "AND" },
    });
    made.addAll(window.cxrSections.map(([link, page, heading, text], id) => ({ id, link, page, heading, text })));
    return made;
  }

  function excerpt(text, terms) {
    const words = terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const pattern = new RegExp(words.join("|"), "gi");
    const start = Math.max(0, text.search(pattern) - 60);
    const piece = text.slice(start ? text.indexOf(" ", start) + 1 : 0, start + 190);
    const node = make("small", start ? "\u2026 " : "");
    let end = 0;
    for (const match of piece.matchAll(pattern)) {
      node.append(piece.slice(end, match.index), make("mark", match[0]));
      end = match.index + match[0].length;
    }
    node.append(piece.slice(end), piece ? " \u2026" : "");
    return node;
  }

  function show(query) {
    let found = index.search(query);
    if (!found.length) found = index.search(query, { combineWith: "OR", fuzzy: 0.2 });
    said.textContent = found.length === 1 ? "1 section" : `${found.length || "No"} sections`;
    list.replaceChildren(...found.slice(0, 30).map(({ link, page, heading, text, terms }) => {
      const entry = make("a", make("strong", page), heading && heading !== page ? ` \u203a ${heading}` : "");
      entry.append(excerpt(text, terms));
      entry.href = new URL(link, here);
      entry.addEventListener("click", close);
      return make("li", entry);
    }));
    results.hidden = false;
  }
  const close = () => { results.hidden = true; };

  async function ask() {
    const query = input.value.trim();
    if (query.length < 2) return close();
    try {
      index = await (prepare.once ??= prepare());
      if (query === input.value.trim()) show(query);
    } catch (error) {
      said.textContent = `The search does not work: ${error.message}.`;
      results.hidden = false;
    }
  }

  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find("a", list)?.click();
  });
  input.addEventListener("focus", () => { prepare.once ??= prepare(); prepare.once.catch(() => {}); });
  input.addEventListener("input", ask);
  form.addEventListener("keydown", (event) => {
    const places = [input, ...all("a", list)];
    const at = places.indexOf(document.activeElement);
    if (event.key === "Escape") {
      close();
      input.focus();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (results.hidden || at < 0) return;
      event.preventDefault();
      places[Math.min(places.length - 1, Math.max(0, at + (event.key === "ArrowDown" ? 1 : -1)))].focus();
    }
  });
  form.addEventListener("focusout", (event) => { if (!form.contains(event.relatedTarget)) close(); });
  document.addEventListener("pointerdown", (event) => { if (!form.contains(event.target)) close(); });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    const asked = (event.key === "/" && !typing) || (event.key === "k" && (event.ctrlKey || event.metaKey));
    if (!asked || event.altKey) return;
    event.preventDefault();
    input.focus();
  });
})();
