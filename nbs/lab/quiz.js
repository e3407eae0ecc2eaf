// A quiz on a page: turns each question's plain list into a form that answers.
// Inlined by lab/quizzes into the output of every quiz, so it may run several times on one page.
// Works without kernel and network. Nothing here is random: names come from the question's hash.
(() => {
  "use strict";
  const STORE = "cxr-quiz:";

  const STYLE = `
.cxr-quiz[data-ready] { --good: #00664f; --bad: #a34100; --line: color-mix(in srgb, currentColor 22%, transparent);
  max-width: 50rem; margin: .5rem 0; line-height: 1.5; }
[data-jp-theme-light="false"] .cxr-quiz, [data-bs-theme="dark"] .cxr-quiz, .quarto-dark .cxr-quiz,
.vscode-dark .cxr-quiz[data-ready] { --good: #5fd0ac; --bad: #ffa469; }
.cxr-quiz[data-ready] form { margin: 0 0 1rem; }
.cxr-quiz[data-ready] fieldset { border: 1px solid var(--line); border-radius: 8px; padding: .25rem 1.1rem 1rem;
  margin: 0; min-width: 0; }
.cxr-quiz[data-ready] legend { font-weight: 600; padding: 0 .4rem; margin-left: -.4rem; float: none; width: auto;
  font-size: 1em; }
.cxr-quiz[data-ready] .cxr-prompt p { margin: .4rem 0; }
.cxr-quiz[data-ready] pre { margin: .5rem 0 .8rem; padding: .6rem .8rem; border-radius: 6px;
  background: color-mix(in srgb, currentColor 6%, transparent); color: inherit; border: 0;
  font-size: .92em; line-height: 1.45; }
.cxr-quiz[data-ready] code { font-family: var(--jp-code-font-family, ui-monospace, monospace); color: inherit; }
.cxr-quiz[data-ready] pre code { background: none; padding: 0; border: 0; font-size: inherit;
  white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; }
.cxr-quiz[data-ready] :not(pre) > code { padding: 0 .25em; border-radius: 4px; font-size: .92em;
  background: color-mix(in srgb, currentColor 8%, transparent); }
.cxr-quiz[data-ready] pre [class^="k"], .cxr-quiz[data-ready] pre .ow { font-weight: 600;
  color: var(--jp-mirror-editor-keyword-color, inherit); }
.cxr-quiz[data-ready] pre [class^="s"] { color: var(--jp-mirror-editor-string-color, inherit); }
.cxr-quiz[data-ready] pre [class^="c"] { opacity: .78; font-style: italic; }
.cxr-quiz[data-ready] .cxr-option { border-left: 3px solid transparent; margin: .15rem 0 .15rem -.6rem;
  padding: .15rem .5rem; border-radius: 4px; }
.cxr-quiz[data-ready] .cxr-option label { display: flex; gap: .6rem; align-items: baseline; cursor: pointer;
  margin: 0; font: inherit; }
.cxr-quiz[data-ready] .cxr-option input { flex: none; margin: 0; transform: translateY(.12em); width: 1em;
  height: 1em; accent-color: currentColor; }
.cxr-quiz[data-ready] .cxr-answer:empty { display: none; }
.cxr-quiz[data-ready] .cxr-answer { margin: .25rem 0 .3rem 1.6rem; }
.cxr-quiz[data-ready] .cxr-answer p { margin: 0 0 .3rem; }
.cxr-quiz[data-ready] .cxr-verdict { font-weight: 600; }
.cxr-quiz[data-ready] .cxr-good { border-left-color: var(--good); }
.cxr-quiz[data-ready] .cxr-bad { border-left-color: var(--bad); }
.cxr-quiz[data-ready] .cxr-good .cxr-verdict { color: var(--good); }
.cxr-quiz[data-ready] .cxr-bad .cxr-verdict { color: var(--bad); }
.cxr-quiz[data-ready] button { font: inherit; color: inherit; background: transparent; cursor: pointer;
  border: 1px solid color-mix(in srgb, currentColor 55%, transparent); border-radius: 6px;
  padding: .2rem .9rem; }
.cxr-quiz[data-ready] button:hover { background: color-mix(in srgb, currentColor 8%, transparent); }
.cxr-quiz[data-ready] button.cxr-check { margin-top: .6rem; }
.cxr-quiz[data-ready] input:focus-visible, .cxr-quiz[data-ready] button:focus-visible, .cxr-quiz[data-ready] summary:focus-visible {
  outline: 2px solid currentColor; outline-offset: 2px; }
.cxr-quiz[data-ready] .cxr-ask { margin-left: .8rem; }
.cxr-quiz[data-ready] .cxr-score { display: flex; gap: 1rem; align-items: center; justify-content: space-between;
  margin: 0; }
@media print { .cxr-quiz[data-ready] button { display: none; } }
`;

  // What was answered before, kept by the browser where that is allowed.
  function load(key) {
    try {
      const kept = JSON.parse(localStorage.getItem(STORE + key));
      return Array.isArray(kept) ? kept.filter(Number.isInteger) : [];
    } catch {
      return [];
    }
  }

  function keep(key, tried) {
    try {
      if (tried.length) localStorage.setItem(STORE + key, JSON.stringify(tried));
      else localStorage.removeItem(STORE + key);
    } catch {
      // not allowed here: the score lives as long as the page
    }
  }

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  // Ids must be unique on a page, also when a question is on it twice.
  function freeId(base) {
    let id = base;
    for (let n = 2; document.getElementById(id); n += 1) id = `${base}-${n}`;
    return id;
  }

  // One question: from the plain list to a form. Returns what the score needs.
  function upgrade(question, changed) {
    const key = question.dataset.question;
    const right = Number(question.dataset.right);
    const title = question.querySelector(".cxr-title");
    const prompt = question.querySelector(".cxr-prompt");
    const texts = [...question.querySelectorAll(".cxr-options > li")];
    const answers = [...question.querySelectorAll(".cxr-answers > li")];
    let tried = [];

    const legend = make("legend");
    legend.append(...title.childNodes);
    const options = texts.map((text, n) => {
      const radio = make("input", { type: "radio", name: `quiz-${key}`, value: String(n) });
      const words = make("span");
      words.append(...text.childNodes);
      const answer = make("div", { className: "cxr-answer" });
      answer.setAttribute("aria-live", "polite");
      return make("div", { className: "cxr-option" }, make("label", {}, radio, words), answer);
    });
    const ask = make("span", { className: "cxr-ask" });
    ask.setAttribute("aria-live", "polite");
    const button = make("button", { type: "submit", className: "cxr-check" }, "Check answer");
    const fieldset = make("fieldset", {}, legend, prompt, ...options, button, ask);
    if (prompt.childNodes.length) {
      prompt.id = freeId(`quiz-${key}`);
      fieldset.setAttribute("aria-describedby", prompt.id);
    }
    const form = make("form", {}, fieldset);
    // JupyterLab must not take the arrow keys and Enter for its own.
    form.setAttribute("data-lm-suppress-shortcuts", "true");
    form.addEventListener("keydown", (event) => event.stopPropagation());

    function show(n) {
      options[n].classList.add(n === right ? "cxr-good" : "cxr-bad");
      const copies = [...answers[n].childNodes].map((node) => node.cloneNode(true));
      options[n].querySelector(".cxr-answer").replaceChildren(...copies);
    }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = form.querySelector("input:checked");
      ask.textContent = chosen ? "" : "Choose an answer first.";
      if (!chosen) return;
      const n = Number(chosen.value);
      if (!tried.includes(n)) {
        tried.push(n);
        show(n);
        keep(key, tried);
        changed();
      }
    });

    tried = load(key).filter((n) => n in options);
    tried.forEach(show);
    if (tried.length) options[tried[tried.length - 1]].querySelector("input").checked = true;
    question.replaceChildren(form);
    return {
      answered: () => tried.length > 0,
      solved: () => tried[0] === right,
      reset() {
        tried = [];
        keep(key, tried);
        form.reset();
        for (const option of options) {
          option.classList.remove("cxr-good", "cxr-bad");
          option.querySelector(".cxr-answer").replaceChildren();
        }
      },
    };
  }

  function start(quiz) {
    quiz.dataset.ready = "true";
    const words = make("span");
    words.setAttribute("role", "status");
    const again = make("button", { type: "button" }, "Start again");
    const score = make("div", { className: "cxr-score" }, words, again);
    score.setAttribute("data-lm-suppress-shortcuts", "true");
    score.addEventListener("keydown", (event) => event.stopPropagation());
    const questions = [];

    function count() {
      const answered = questions.filter((q) => q.answered()).length;
      const solved = questions.filter((q) => q.solved()).length;
      const left = questions.length - answered;
      const first = `Score: ${solved} of ${questions.length} right at the first try`;
      words.textContent = left ? `${first}, ${left} still to answer.` : `${first}.`;
      again.hidden = answered === 0;
    }

    for (const question of quiz.querySelectorAll(".cxr-question")) {
      questions.push(upgrade(question, count));
    }
    again.addEventListener("click", () => {
      questions.forEach((q) => q.reset());
      count();
      quiz.querySelector("input").focus();
    });
    quiz.append(score);
    count();
  }

  if (!document.getElementById("cxr-quiz-style")) {
    document.head.append(make("style", { id: "cxr-quiz-style" }, STYLE));
  }
  // A notebook that is not trusted keeps its list: its data are taken out.
  document.querySelectorAll(".cxr-quiz:not([data-ready]):has([data-right])").forEach(start);
})();
