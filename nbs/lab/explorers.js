// Draws every explorer of a page from the numbers that stand in it: no kernel, no other file, no network.
// Each is a <div class="cxr-explorer" data-kind="..."> with a still image and its data as JSON. The drawing
// goes into a shadow root, which hides the still image; if anything fails, the still image stays.
(() => {
  "use strict";

  const STYLE = `
    :host { display: block; max-width: 680px; margin: 4px 0 12px; }
    * { box-sizing: border-box; }
    .frame { --wrong: #D55E00; --right: #0072B2; --check: #009E73; --line: rgba(128, 128, 128, .45);
      --faint: rgba(128, 128, 128, .16); --soft: rgba(128, 128, 128, .3); color: inherit; container-type: inline-size;
      font: 13px/1.4 system-ui, -apple-system, "Segoe UI", sans-serif; border: 1px solid var(--line);
      border-radius: 6px; padding: 10px 12px; }
    @supports (color: color-mix(in srgb, red, blue)) { .frame { --wrong: color-mix(in srgb, #D55E00 86%, currentColor);
      --right: color-mix(in srgb, #0072B2 80%, currentColor); --check: color-mix(in srgb, #009E73 82%, currentColor); } }
    p { margin: 0; } .title { font-weight: 650; font-size: 14px; }
    .controls { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 8px 0; align-items: center; }
    .controls > label.slide { flex: 1 1 170px; min-width: 0; }
    label.slide > span { display: flex; justify-content: space-between; gap: 8px; }
    output { font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
    input[type=range] { -webkit-appearance: none; appearance: none; width: 100%; height: 20px; margin: 2px 0 0;
      background: none; cursor: pointer; }
    input[type=range]::-webkit-slider-runnable-track { height: 5px; border-radius: 3px; background: var(--soft); }
    input[type=range]::-moz-range-track { height: 5px; border-radius: 3px; background: var(--soft); }
    input[type=range]::-webkit-slider-thumb { -webkit-appearance: none; width: 17px; height: 17px; margin-top: -6px;
      border: 0; border-radius: 50%; background: var(--right); }
    input[type=range]::-moz-range-thumb { width: 17px; height: 17px; border: 0; border-radius: 50%;
      background: var(--right); }
    input:focus-visible { outline: 3px solid var(--right); outline-offset: 2px; border-radius: 4px; }
    input[type=checkbox] { accent-color: #0072B2; width: 16px; height: 16px; margin: 0 6px 0 0; vertical-align: -3px; }
    .panels { display: flex; flex-wrap: wrap; gap: 10px 16px; align-items: flex-start; }
    .panels > * { flex: 1 1 240px; min-width: 0; max-width: 100%; } .panels > .wide { flex-basis: 100%; }
    .panels > .narrow { flex: 1 1 120px; }
    .panels > .column { display: flex; flex-direction: column; gap: 8px; }
    svg { display: block; width: 100%; height: auto; overflow: visible; } svg text { fill: currentColor; font-size: 11px; }
    svg text.strong { font-weight: 650; } .axis { stroke: var(--line); fill: none; } .grid { stroke: var(--faint); }
    .wrong { fill: var(--wrong); } .right { fill: var(--right); } .check { fill: var(--check); }
    .own { fill: #6b6b6b; } .pale { fill-opacity: .5; } .rest { fill: var(--soft); }
    .curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; } .curve.wrong { stroke: var(--wrong); fill: none; }
    .curve.right { stroke: var(--right); fill: none; } .curve.plain { stroke: currentColor; stroke-opacity: .55; }
    .dashed { stroke-dasharray: 5 4; } .mark { stroke: currentColor; stroke-width: 1.5; }
    figure { margin: 0; } figcaption { margin-top: 2px; font-size: 12px; }
    canvas, img { display: block; width: 100%; height: auto; background: #000; border-radius: 3px; }
    .framed.wrong canvas { outline: 3px solid var(--wrong); } .framed.right canvas { outline: 3px solid var(--right); }
    .framed.wrong, .framed.right { fill: none; }
    table { border-collapse: collapse; width: 100%; font: inherit; color: inherit; font-variant-numeric: tabular-nums; }
    th, td { padding: 1px 4px; text-align: right; font-weight: 400; border-top: 1px solid var(--faint); }
    th:first-child, caption { text-align: left; } thead th { border: 0; } caption { font-size: 12px; }
    .key { display: inline-block; width: 9px; height: 9px; margin-right: 5px; border-radius: 2px; }
    .key.wrong { background: var(--wrong); } .key.right { background: var(--right); } .key.check { background: var(--check); }
    .key.pale { opacity: .5; } .key.rest { background: var(--soft); }
    .says { margin-top: 8px; padding: 6px 10px; background: var(--faint); border-radius: 4px; min-height: 2.8em; }
    .caption { margin-top: 6px; font-size: 12px; opacity: .85; }
  `;

  // --- making elements ---

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const fixed = (value, digits = 2) => value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "\u2212");
  const percent = (value) => `${+(100 * value).toFixed(value > 0 && value < 0.095 ? 1 : 0)} %`;
  const grouped = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");
  const share = (value) => (Number.isFinite(value) ? fixed(value) : "not defined");

  // --- what can be moved: each control knows its value and says it in words ---

  function slider(label, values, start, say) {
    const shown = html("output", { "aria-hidden": "true" });
    const input = html("input", { type: "range", min: 0, max: values.length - 1, step: 1 });
    input.value = String(start);
    const node = html("label", { class: "slide" }, html("span", {}, label, shown), input);
    input.setAttribute("aria-label", label);
    const control = { node, input, value: () => values[+input.value], place: () => +input.value };
    control.show = () => {
      const text = say(control.value());
      shown.textContent = text;
      input.setAttribute("aria-valuetext", text);
    };
    return control;
  }

  function checkbox(label, checked) {
    const input = html("input", { type: "checkbox" });
    input.checked = checked;
    return { node: html("label", {}, input, label), input, value: () => input.checked, show() {} };
  }

  // --- charts: axes once, what moves in a layer of its own ---

  function chart(name, { x, y, xlabel = "", ylabel = "", xticks, yticks, width = 270, height = 180, log = false }) {
    const [left, right, top, bottom] = [ylabel || yticks.length ? 40 : 8, 10, 10, xlabel ? 34 : 20];
    const scale = log ? Math.log : (value) => value;
    const X = (v) => left + ((scale(v) - scale(x[0])) / (scale(x[1]) - scale(x[0]))) * (width - left - right);
    const Y = (v) => height - bottom - ((v - y[0]) / (y[1] - y[0])) * (height - top - bottom);
    const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name });
    const text = (at, up, words, anchor = "middle", extra = {}) =>
      svg("text", { x: at, y: up, "text-anchor": anchor, ...extra }, words);
    for (const [tick, words] of yticks) {
      node.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: Y(tick), y2: Y(tick) }));
      node.append(text(left - 5, Y(tick) + 4, words, "end"));
    }
    for (const [tick, words] of xticks) node.append(text(X(tick), height - bottom + 14, words));
    if (xticks.length) node.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    if (xlabel) node.append(text((left + width - right) / 2, height - 4, xlabel));
    if (ylabel) {
      const middle = (top + height - bottom) / 2;
      node.append(text(10, middle, ylabel, "middle", { transform: `rotate(-90 10 ${middle})` }));
    }
    const layer = svg("g");
    node.append(layer);
    const add = (tag, attributes, ...children) => layer.append(svg(tag, attributes, ...children));
    return {
      node, X, Y, add,
      clear: () => layer.replaceChildren(),
      line: (points, style) =>
        add("polyline", { class: `curve ${style}`, points: points.map(([a, b]) => `${X(a)},${Y(b)}`).join(" ") }),
      band: (points, style) =>
        add("polygon", {
          class: `${style}`, "fill-opacity": 0.2,
          points: [...points.map(([a, low]) => [a, low]), ...points.map(([a, , high]) => [a, high]).reverse()]
            .map(([a, b]) => `${X(a)},${Y(b)}`).join(" "),
        }),
      dot: (a, b, style) => add("circle", { class: `${style} mark`, cx: X(a), cy: Y(b), r: 5 }),
      upright: (a) => add("line", { class: "mark dashed", x1: X(a), x2: X(a), y1: Y(y[0]), y2: Y(y[1]) }),
      say: (a, b, words, anchor = "middle", extra = {}) => layer.append(text(X(a), Y(b), words, anchor, extra)),
    };
  }

  function bars(name, labels, { width = 270, styles = [], mark = null } = {}) {
    const [step, left, right] = [23, 108, 40];
    const node = svg("svg", { viewBox: `0 0 ${width} ${step * labels.length}`, role: "img", "aria-label": name });
    const room = width - left - right;
    const rows = labels.map((label, row) => {
      const up = row * step;
      const bar = svg("rect", { class: styles[row] ?? "right", x: left, y: up + 5, height: 13 });
      const number = svg("text", { class: "strong", x: width, y: up + 16, "text-anchor": "end" });
      node.append(svg("text", { x: 0, y: up + 16 }, label));
      node.append(svg("rect", { fill: "var(--faint)", x: left, y: up + 5, width: room, height: 13 }), bar, number);
      if (mark !== null) node.append(svg("line", { class: "mark dashed", x1: left + mark * room, x2: left + mark * room, y1: up, y2: up + step }));
      return (value, words = share(value)) => {
        bar.setAttribute("width", Number.isFinite(value) ? Math.max(0, Math.min(1, value)) * room : 0);
        number.textContent = words;
      };
    });
    return { node, set: (row, value, words) => rows[row](value, words) };
  }

  function squares(name, columns, count) {
    const [rows, step] = [Math.ceil(count / columns), 8];
    const node = svg("svg", { viewBox: `0 0 ${columns * step} ${rows * step}`, role: "img", "aria-label": name });
    const area = (style, from, to) => { // as one path: a thousand elements would be slow
      let path = "";
      for (let k = from; k < to; k++) {
        path += `M${(k % columns) * step + 0.7} ${Math.floor(k / columns) * step + 0.7}h6.6v6.6h-6.6z`;
      }
      return svg("path", { class: style, d: path });
    };
    return {
      node,
      set(parts) {
        let from = 0;
        node.replaceChildren(...parts.map(([style, size]) => area(style, from, (from += size))));
      },
    };
  }

  const key = (style, words) => html("span", {}, html("span", { class: `key ${style}` }), words);
  const column = (...nodes) => html("div", { class: "column" }, ...nodes);
  const halves = (low, high, step) => {
    const ticks = [];
    for (let k = 0; low + k * step <= high + 1e-9; k++) ticks.push([low + k * step, String(+(low + k * step).toFixed(2))]);
    return ticks;
  };

  function canvas(name, width, height, style, words) {
    const node = html("canvas", { width, height, role: "img", "aria-label": name });
    const caption = html("figcaption", {}, words);
    return { node: html("figure", { class: `framed narrow ${style}` }, node, caption), pen: node.getContext("2d"), caption };
  }

  // --- the explorers: data in, controls and panels and a function that draws and says it in a sentence out ---

  function threshold(data) {
    const above = (bins, place) => bins.slice(place).reduce((sum, count) => sum + count, 0);
    const [positives, negatives] = [above(data.positive, 0), above(data.negative, 0)];
    const rates = (place) => [above(data.positive, place) / positives, above(data.negative, place) / negatives];
    const places = data.positive.map((_, place) => place).slice(1, 100);
    const cut = slider("threshold", places, data.start - 1, (place) => fixed(place / 100));
    const prevalence = slider("patients with pneumonia", data.prevalences, data.own, percent);
    const most = Math.max(1, ...[data.positive, data.negative].map((bins) => Math.max(...fives(bins))));
    function fives(bins) {
      return Array.from({ length: 20 }, (_, k) => above(bins.slice(0, k === 19 ? 101 : 5 * k + 5), 5 * k));
    }
    const scores = chart("Scores of the patients with pneumonia above, of those without below, and the threshold", {
      x: [0, 1], y: [-1, 1], xticks: halves(0, 1, 0.25), yticks: [], xlabel: "predicted probability", height: 168 });
    const benefit = chart("Net benefit over thresholds", {
      x: [0, 1], y: [-0.2, 1], xticks: halves(0, 1, 0.25), yticks: halves(0, 1, 0.5), height: 150,
      xlabel: "threshold", ylabel: "net benefit, of best" });
    const patients = squares("1,000 patients: called and not called, rightly and wrongly", 50, 1000);
    const body = html("tbody");
    const table = html("table", {}, html("caption", {}, "Of 1,000 patients"),
      html("thead", {}, html("tr", {}, ...["", "called", "not called"].map((t) => html("th", { scope: "col" }, t)))), body);
    const measures = bars("Sensitivity, specificity and predictive values",
      ["sensitivity", "specificity", "pos. pred. value", "neg. pred. value"]);
    function net(place, common) {
      const [found, alarms] = rates(place);
      const odds = place / (100 - place);
      return [found * common - alarms * (1 - common) * odds, common - (1 - common) * odds];
    }
    function draw() {
      const [place, common] = [cut.value(), prevalence.value()];
      const [sensitivity, alarms] = rates(place);
      const positive = Math.round(1000 * common);
      const found = Math.round(1000 * common * sensitivity);
      const wrongly = Math.round(1000 * (1 - common) * alarms);
      const [missed, rest] = [positive - found, 1000 - positive - wrongly];
      scores.clear();
      for (const [bins, sign] of [[fives(data.positive), 1], [fives(data.negative), -1]]) {
        bins.forEach((count, k) => {
          const called = 5 * k >= place;
          const split = !called && 5 * k + 5 > place && k < 19 ? (place - 5 * k) / 5 : null;
          const tall = (count / most) * 0.92;
          const piece = (from, to, isCalled) => scores.add("rect", {
            class: `${isCalled === sign > 0 ? "right" : "wrong"}${sign < 0 ? " pale" : ""}`,
            x: scores.X(from) + 0.5, width: Math.max(0, scores.X(to) - scores.X(from) - 1),
            y: sign > 0 ? scores.Y(tall) : scores.Y(0) + 1, height: scores.Y(0) - scores.Y(tall) });
          if (split === null) piece(k / 20, (k + 1) / 20, called);
          else {
            piece(k / 20, (k + split) / 20, false);
            piece((k + split) / 20, (k + 1) / 20, true);
          }
        });
      }
      scores.upright(place / 100);
      scores.say(0, 0.86, "with pneumonia", "start");
      scores.say(1, -0.92, "without", "end");
      const reach = Math.max(common, 0.001);
      benefit.clear();
      const curve = (which) => places.map((p) => [p / 100, Math.max(-0.2, net(p, common)[which] / reach)]);
      benefit.line(curve(1), "plain");
      benefit.line([[0, 0], [1, 0]], "plain dashed");
      benefit.line(curve(0), "right");
      benefit.say(1, -0.13, "nobody called", "end");
      benefit.say(0.02, -0.13, "everybody", "start");
      const [model, all] = net(place, common);
      benefit.upright(place / 100);
      benefit.dot(place / 100, Math.max(-0.2, model / reach), "right");
      patients.set([["right", found], ["wrong", missed], ["wrong pale", wrongly], ["rest", rest]]);
      const row = (words, cells) => html("tr", {}, html("th", { scope: "row" }, words),
        ...cells.map(([style, count, what]) => html("td", { "data-cell": what }, key(style, grouped(count)))));
      body.replaceChildren(
        row("with pneumonia", [["right", found, "found"], ["wrong", missed, "missed"]]),
        row("without", [["wrong pale", wrongly, "alarms"], ["rest", rest, "rest"]]));
      const called = sensitivity * common + alarms * (1 - common);
      measures.set(0, sensitivity);
      measures.set(1, 1 - alarms);
      measures.set(2, (sensitivity * common) / called);
      measures.set(3, ((1 - alarms) * (1 - common)) / (1 - called));
      const best = model >= Math.max(all, 0) ? "the model" : all > 0 ? "calling everybody" : "calling nobody";
      return `Of 1,000 patients ${grouped(positive)} have pneumonia: ${grouped(found)} are found and ${grouped(missed)} missed. ` +
        `${grouped(wrongly)} others are called, too, so of ${grouped(found + wrongly)} alarms ` +
        `${percent(called ? (sensitivity * common) / called : 0)} are true. Net benefit ${fixed(model, 3)}; best here: ${best}.`;
    }
    const left = column(scores.node, benefit.node);
    return { controls: [cut, prevalence], panels: [left, column(patients.node, table, measures.node)], draw };
  }

  function leak(data) {
    const both = slider("share of test patients who are also in training", data.share, data.start, percent);
    const plot = chart("AUROC, reported and true, over the share of patients on both sides", {
      x: [0, 1], y: [0.5, 1], xticks: [0, 0.25, 0.5, 0.75, 1].map((v) => [v, percent(v)]),
      yticks: halves(0.5, 1, 0.1), xlabel: "patients on both sides", ylabel: "AUROC", height: 210 });
    const boxes = chart("Twenty patients in training and twenty in the test", {
      x: [0, 10], y: [0.3, 10], xticks: [], yticks: [], width: 260, height: 200 });
    const keys = html("figcaption", {}, key("wrong", "in both parts, with different images"));
    const drawn = (which) => data.share.map((at, k) => [at, ...data[which][k]]);
    function box(left, words, fills) {
      boxes.add("rect", { class: "axis", x: boxes.X(left), y: boxes.Y(8.8), width: boxes.X(4.4) - boxes.X(0),
        height: boxes.Y(0.4) - boxes.Y(8.8), rx: 5 });
      boxes.say(left + 2.2, 9.2, words);
      fills.forEach(([style, number], k) => {
        const [x, y] = [boxes.X(left + 0.7 + (k % 4)), boxes.Y(8 - 1.6 * Math.floor(k / 4))];
        boxes.add("circle", { class: style, cx: x, cy: y, r: 11 });
        boxes.add("text", { x, y: y + 4, "text-anchor": "middle", style: "fill:#fff;font-size:10px" }, number);
      });
    }
    function draw() {
      const [place, part] = [both.place(), both.value()];
      const leaked = Math.round(20 * part);
      const test = Array.from({ length: 20 }, (_, k) => [k < leaked ? "wrong" : "right", String(k + 21)]);
      const train = Array.from({ length: 20 }, (_, k) => k < leaked ? ["wrong", String(k + 21)] : ["own", String(k + 1)]);
      boxes.clear();
      box(0.2, "training", train);
      box(5.4, "test", test);
      plot.clear();
      for (const [which, style] of [["reported", "wrong"], ["true", "right"]]) {
        plot.band(drawn(which).map(([at, , low, high]) => [at, low, high]), style);
        plot.line(drawn(which).map(([at, mean]) => [at, mean]), which === "true" ? "right dashed" : style);
      }
      const [reported, truth] = [data.reported[place][0], data.true[place][0]];
      plot.upright(part);
      plot.dot(part, reported, "wrong");
      plot.dot(part, truth, "right");
      const at = data.share.length - 1;
      plot.say(1, data.reported[at][0] + 0.045, "reported", "end", { class: "strong" });
      plot.say(1, data.true[at][0] - 0.075, "true, new patients", "end", { class: "strong" });
      return `${percent(part)} of the test patients are also in training: the test reports an AUROC of ${fixed(reported)}; ` +
        `on new patients the same models reach ${fixed(truth)}. ` +
        (reported - truth > 0.02 ? `${fixed(reported - truth)} is memory.` : "Nothing is promised that does not hold.");
    }
    return { controls: [both], panels: [plot.node, html("figure", {}, boxes.node, keys)], draw };
  }

  function interval(data) {
    const patients = slider("test patients", data.patients, data.start, grouped);
    const rare = checkbox("only one in ten has pneumonia", false);
    const forest = chart("Intervals of the AUROC in studies of this size, and the truth", {
      x: [0.5, 1], y: [0, data.studies], xticks: halves(0.5, 1, 0.1), yticks: [], xlabel: "AUROC with 95 % interval", height: 240 });
    const widths = chart("Mean width of the interval over the number of test patients", {
      x: [data.patients[0], data.patients.at(-1)], y: [0, 0.6], log: true, xlabel: "test patients",
      xticks: [50, 200, 800].filter((n) => n <= data.patients.at(-1)).map((n) => [n, grouped(n)]),
      yticks: halves(0, 0.6, 0.1), ylabel: "mean width", height: 240 });
    const mean = (rows) => rows.reduce((sum, [low, , high]) => sum + high - low, 0) / rows.length;
    function draw() {
      const which = rare.value() ? "rare" : "half";
      const rows = data[which][patients.place()];
      forest.clear();
      let held = 0;
      rows.forEach(([low, middle, high], k) => {
        const holds = low <= data.truth && data.truth <= high;
        held += holds;
        const up = forest.Y(k + 0.5);
        forest.add("line", { x1: forest.X(Math.max(0.5, low)), x2: forest.X(high), y1: up, y2: up, "stroke-width": holds ? 2 : 3.5,
          stroke: holds ? "var(--right)" : "var(--wrong)" });
        forest.add("circle", { class: holds ? "right" : "wrong", cx: forest.X(Math.max(0.5, middle)), cy: up, r: 3 });
      });
      forest.upright(data.truth);
      widths.clear();
      for (const [name, style] of [["half", ""], ["rare", "dashed"]]) {
        const chosen = name === which ? "right" : "plain";
        widths.line(data[name].map((all, k) => [data.patients[k], mean(all)]), `${chosen} ${style}`);
      }
      widths.dot(patients.value(), mean(rows), "right");
      widths.say(data.patients.at(-1), 0.53, "dashed: one in ten with pneumonia", "end");
      return `With ${grouped(patients.value())} test patients, ${rare.value() ? "one in ten" : "half"} of them with pneumonia, the interval is ` +
        `${fixed(mean(rows))} wide on average. ${held} of ${rows.length} intervals hold the true AUROC of ${fixed(data.truth)} (dashed line).`;
    }
    return { controls: [patients, rare], panels: [forest.node, widths.node], draw };
  }

  function windowing(data) {
    const grey = Uint8Array.from(atob(data.image), (letter) => letter.charCodeAt(0));
    const [rows, columns] = data.size;
    const [low, high, most] = [data.center - data.width / 2, data.center + data.width / 2 - 1, 2 ** data.bits - 1];
    const center = slider("centre of the window", data.centers, data.centers.indexOf(data.center), grouped);
    const width = slider("width of the window", data.widths, data.widths.indexOf(data.width), grouped);
    const negative = checkbox("stored as a negative (MONOCHROME1)", true);
    const right = canvas("Right order: window, then invert", columns, rows, "right", "right: window, then invert");
    const wrong = canvas("Wrong order: invert, then window", columns, rows, "wrong", "wrong: invert, then window");
    const levels = chart("How often each stored value occurs, and the window", {
      x: [0, most], y: [0, 1.05], xticks: [0, 1, 2, 3, 4].map((k) => [(k * most) / 4, grouped(Math.round((k * most) / 4))]),
      yticks: [[0, "black"], [1, "white"]], xlabel: "stored value", width: 620, height: 130 });
    levels.node.classList.add("wide");
    const windowed = (value) => // PS3.3, C.11.2.1.2
      Math.min(1, Math.max(0, (value - (center.value() - 0.5)) / Math.max(width.value() - 1, 1e-6) + 0.5));
    function paint(target, look) { // one grey level for each of 256 stored values
      const table = Array.from({ length: 256 }, (_, k) => Math.round(255 * look(k)));
      const pixels = target.pen.createImageData(columns, rows);
      grey.forEach((k, at) => pixels.data.set([table[k], table[k], table[k], 255], 4 * at));
      target.pen.putImageData(pixels, 0, 0);
      return table;
    }
    function draw() {
      const inverted = negative.value();
      const stored = (k) => Math.round(low + (inverted ? 1 - k / 255 : k / 255) * (high - low));
      const first = paint(right, (k) => (inverted ? 1 - windowed(stored(k)) : windowed(stored(k))));
      const second = paint(wrong, (k) => windowed(inverted ? most - stored(k) : stored(k)));
      const off = grey.reduce((sum, k) => sum + Math.abs(first[k] - second[k]), 0) / grey.length;
      const counts = new Array(64).fill(0);
      grey.forEach((k) => counts[Math.floor((stored(k) / (most + 1)) * 64)]++);
      const peak = Math.max(...counts);
      levels.clear();
      counts.forEach((count, k) => levels.add("rect", { class: "rest", x: levels.X((k / 64) * most), width: 8.5,
        y: levels.Y((0.9 * count) / peak), height: levels.Y(0) - levels.Y((0.9 * count) / peak) }));
      const flip = (value) => (inverted ? 1 - windowed(value) : windowed(value));
      const ramp = Array.from({ length: 201 }, (_, k) => [(k * most) / 200, (k * most) / 200]);
      levels.line(ramp.map(([a, v]) => [a, flip(v)]), "right");
      if (inverted) levels.line(ramp.map(([a, v]) => [a, windowed(most - v)]), "wrong dashed");
      wrong.caption.textContent = inverted ? "wrong: invert, then window" : "nothing to invert: both orders agree";
      wrong.node.setAttribute("class", `framed narrow ${inverted ? "wrong" : "right"}`);
      const header = center.value() === data.center && width.value() === data.width;
      return `Window ${grouped(center.value())} / ${grouped(width.value())}${header ? ", as the header says" : ""}. ` +
        (inverted ? `In the wrong order, a pixel is off by ${fixed(off, 0)} of 255 grey levels on average.`
          : "The values are no negative, so the order does not matter.");
    }
    return { controls: [center, width, negative], panels: [right.node, wrong.node, levels.node], draw };
  }

  function severity(data) {
    const severe = slider("severity of the pneumonia", data.severity, data.start, (v) => fixed(v, 2));
    const picture = (name, source, words) => {
      const image = html("img", { src: source, alt: name });
      const caption = html("figcaption", {}, words);
      return { node: html("figure", {}, image, caption), image, caption };
    };
    const without = picture("Simulated chest X-ray without pneumonia", data.without, "without pneumonia");
    const shown = picture("", data.images[data.start], "");
    const all = data.auroc.flat();
    const floor = Math.min(0.5, Math.floor(10 * Math.min(...all)) / 10);
    const plot = chart("AUROC over the severity of the patients with pneumonia", {
      x: [data.severity[0], data.severity.at(-1)], y: [floor, 1], yticks: halves(floor, 1, 0.1), ylabel: "AUROC",
      xticks: data.severity.filter((_, k) => k % 2 === 0).map((v) => [v, String(v)]), xlabel: "severity", height: 150, width: 560 });
    plot.node.classList.add("wide");
    function draw() {
      const place = severe.place();
      const [mean, low, high] = data.auroc[place];
      shown.image.src = data.images[place];
      shown.image.alt = `The same chest with a consolidation of severity ${fixed(severe.value(), 2)}`;
      shown.caption.textContent = `severity ${fixed(severe.value(), 2)}`;
      plot.clear();
      plot.band(data.severity.map((v, k) => [v, data.auroc[k][1], data.auroc[k][2]]), "right");
      plot.line(data.severity.map((v, k) => [v, data.auroc[k][0]]), "right");
      plot.line([[data.severity[0], data.all], [data.severity.at(-1), data.all]], "plain dashed");
      plot.say(data.severity.at(-1), data.all - 0.09, `all severities: ${fixed(data.all)}`, "end");
      plot.upright(severe.value());
      plot.dot(severe.value(), mean, "right");
      return `If every pneumonia were about as severe as this (${fixed(severe.value(), 2)}), the same models would have an AUROC of ` +
        `${fixed(mean)} (${data.range} ${fixed(low)} to ${fixed(high)}), with the same patients without pneumonia.`;
    }
    return { controls: [severe], panels: [without.node, shown.node, plot.node], draw };
  }

  function pooled(data) {
    const places = ["A", "B"].map((name, k) => slider(`pneumonia in hospital ${name}`, data.prevalences, data.start[k], percent));
    const wards = ["A", "B"].map((name) => squares(`100 patients of hospital ${name}, those with pneumonia first`, 20, 100));
    const captions = ["A", "B"].map(() => html("figcaption", {}));
    const figures = wards.map((ward, k) => html("figure", { class: "narrow" }, ward.node, captions[k]));
    const measures = bars("AUROC of a model that sees only the hospital", ["both pooled", "hospital A alone", "hospital B alone"],
      { styles: ["wrong", "right", "right"], width: 460, mark: 0.5 });
    measures.node.classList.add("wide");
    function draw() {
      const [a, b] = places.map((place) => place.value());
      const auroc = data.auroc[places[0].place()][places[1].place()];
      [a, b].forEach((common, k) => {
        const count = Math.round(100 * common);
        wards[k].set([["check", count], ["rest", 100 - count]]);
        captions[k].textContent = `hospital ${"AB"[k]}: ${count} of 100 have pneumonia`;
      });
      measures.set(0, auroc);
      measures.set(1, data.alone);
      measures.set(2, data.alone);
      const tells = Math.abs(a - b) < 1e-9 ? "The hospital tells nothing about the disease"
        : `It calls everybody from hospital ${a > b ? "A" : "B"} the more suspicious`;
      return `The model knows nothing but the hospital. ${tells}: pooled AUROC ${fixed(auroc)}, inside each hospital ${fixed(data.alone)}.`;
    }
    return { controls: places, panels: [...figures, measures.node], draw };
  }

  function augmentation(data) {
    const angle = slider("turned by up to", data.angles, data.start[0], (v) => `${v}°`);
    const crop = slider("smallest crop", data.crops, data.start[1], percent);
    const flip = checkbox("half of them flipped", false);
    const [rows, columns] = data.size;
    const views = data.draws.map((_, k) => canvas(`Example ${k + 1} of what the network would see`, columns, rows, "", ""));
    const measures = bars("Share of cases that keep what they must",
      ["lesion still there", "heart on its side", "lung darker", "all three"], { width: 460, styles: ["check", "check", "check", "right"] });
    measures.node.classList.add("wide");
    const [image, lesion] = [data.image, data.lesion].map((source) => {
      const node = new Image();
      node.addEventListener("load", paint);
      node.src = source;
      return node;
    });
    function paint() {
      views.forEach(({ pen }, k) => {
        const draws = data.draws[k]; // each from 0 to 1: angle, size of the crop, left, top, flip
        const turn = (2 * draws[0] - 1) * angle.value() * (Math.PI / 180);
        const side = Math.sqrt(crop.value() + draws[1] * (1 - crop.value()));
        pen.setTransform(1, 0, 0, 1, 0, 0);
        pen.fillStyle = "#000";
        pen.fillRect(0, 0, columns, rows);
        pen.scale(1 / side, 1 / side); // last comes the crop, so it is the outermost
        pen.translate(-(1 - side) * columns * draws[2], -(1 - side) * rows * draws[3]);
        pen.translate(columns / 2, rows / 2);
        if (flip.value() && draws[4] < 0.5) pen.scale(-1, 1);
        pen.rotate(turn);
        for (const layer of [image, lesion]) if (layer.complete && layer.naturalWidth) pen.drawImage(layer, -columns / 2, -rows / 2);
      });
    }
    function draw() {
      paint();
      const kept = data.kept[angle.place()][crop.place()][flip.value() ? 1 : 0];
      kept.forEach((part, row) => measures.set(row, part, percent(part)));
      const broken = ["the lesion", "the side of the heart", "the order of grey levels"].filter((_, k) => kept[k] < 0.95);
      return `All three are kept in ${percent(kept[3])} of the cases. ` +
        (broken.length ? `The check fails: this augmentation damages ${broken.join(" and ")}.` : "The check passes: nothing is damaged that the label needs.");
    }
    return { controls: [angle, crop, flip], panels: [...views.map((view) => view.node), measures.node], draw };
  }

  function calibration(data) {
    const heat = slider("temperature", data.temperature, data.start, (v) => fixed(v));
    const plot = chart("Share of positive patients over the predicted probability, in groups", {
      x: [0, 1], y: [0, 1], xticks: halves(0, 1, 0.25), yticks: halves(0, 1, 0.25), xlabel: "predicted probability",
      ylabel: "share positive", height: 260 });
    const losses = data.loss;
    const [least, most] = [Math.min(...losses), Math.max(...losses)];
    const loss = chart("Log loss over the temperature", {
      x: [data.temperature[0], data.temperature.at(-1)], y: [least - 0.08 * (most - least), most], log: true, height: 150,
      xticks: [0.25, 0.5, 1, 2, 4, 8].filter((t) => t >= data.temperature[0] && t <= data.temperature.at(-1)).map((t) => [t, String(t)]),
      yticks: [least, most].map((v) => [v, fixed(v)]), xlabel: "temperature", ylabel: "log loss" });
    const measures = bars("Calibration error and AUROC", ["calibration error", "AUROC"], { styles: ["wrong", "right"] });
    function draw() {
      const place = heat.place();
      plot.clear();
      plot.line([[0, 0], [1, 1]], "plain dashed");
      plot.line(data.groups[0].map((_, k) => [data.groups[place][k][0], data.groups[place][k][1]]), "right");
      for (const [said, seen] of data.groups[place]) plot.dot(said, seen, "right");
      loss.clear();
      loss.line(data.temperature.map((t, k) => [t, losses[k]]), "plain");
      loss.upright(data.best);
      loss.say(data.best, least + 0.9 * (most - least), `fitted: ${fixed(data.best)}`, "start", { dx: 5 });
      loss.dot(heat.value(), losses[place], "right");
      measures.set(0, data.ece[place], fixed(data.ece[place], 3));
      measures.set(1, data.auroc, fixed(data.auroc, 3));
      const slope = data.slope[place];
      const verdict = slope < 0.9 ? "too sure of itself" : slope > 1.1 ? "not sure enough" : "about as sure as it may be";
      return `At temperature ${fixed(heat.value())} the model is ${verdict} (slope ${fixed(slope)}, calibration error ${fixed(data.ece[place], 3)}). ` +
        `The order of the patients stays, and with it the AUROC.`;
    }
    return { controls: [heat], panels: [plot.node, column(loss.node, measures.node)], draw };
  }

  const KINDS = { threshold, leak, interval, window: windowing, severity, pooled, augmentation, calibration };

  function start(root) {
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const { controls, panels, draw } = KINDS[root.dataset.kind](data);
    const says = html("p", { class: "says", role: "status", "aria-live": "polite", "aria-atomic": "true" });
    const update = () => {
      for (const control of controls) control.show();
      says.textContent = draw();
    };
    update();
    for (const control of controls) control.input.addEventListener("input", update);
    const frame = html("div", { class: "frame", role: "group", "aria-label": data.title },
      html("p", { class: "title" }, data.title),
      html("div", { class: "controls" }, ...controls.map((control) => control.node)),
      html("div", { class: "panels" }, ...panels), says, html("p", { class: "caption" }, data.caption));
    frame.addEventListener("keydown", (event) => event.stopPropagation()); // arrows belong to the slider, not to the notebook
    root.attachShadow({ mode: "open" }).append(html("style", {}, STYLE), frame);
  }

  for (const root of document.querySelectorAll(".cxr-explorer")) {
    if (root.shadowRoot) continue; // drawn by an earlier copy of this module
    try {
      start(root);
    } catch (error) {
      console.error("explorer:", root.dataset.kind, error); // the still image stays
    }
  }
})();
