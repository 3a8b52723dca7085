// How an answer is given, by form. Each has an element, `value()` (undefined until it is complete),
// `set(answer)`, `lock(on)` and `press(key, current)`, which says whether it took the key.

import { make } from "./parts.js";

/** Buttons of which one is chosen, as radio buttons: ``options`` are value -> [big, small] words. */
function choices(name, legend, options, onchange, keyed = []) {
  const inputs = new Map();
  const labels = [...options].map(([value, [big, small]], place) => {
    const input = make("input", { type: "radio", name, value, onchange, "aria-label": small ? `${big} ${small}` : big });
    inputs.set(value, input);
    return make("label", { class: "choice" }, input, make("b", {}, big), small && make("span", {}, small),
      keyed[place] ? make("kbd", { "aria-hidden": "true" }, keyed[place]) : null);
  });
  const element = make("fieldset", { class: `choices of-${options.size}` },
    make("legend", { class: "unseen" }, legend), ...labels);
  return {
    element,
    value: () => [...inputs].find(([, input]) => input.checked)?.[0],
    set: (value) => inputs.forEach((input, own) => { input.checked = own === value; }),
    lock: (on) => { element.disabled = on; },
  };
}

const POINTS = new Map([
  [-2, ["A", "clearly"]], [-1, ["A", "slightly"]], [0, ["=", "equal"]], [1, ["B", "slightly"]], [2, ["B", "clearly"]],
]);

class Ab {
  keys = [["1 – 5", "answer, from A to B"]];

  constructor(clips, question, onchange) {
    this.scale = choices("point", question, POINTS, onchange, ["1", "2", "3", "4", "5"]);
    this.element = make("div", { class: "answer" }, this.scale.element);
  }

  value() {
    const point = this.scale.value();
    return point === undefined ? undefined : { point };
  }

  set(answer) {
    this.scale.set(answer ? answer.point : undefined);
  }

  lock(on) {
    this.scale.lock(on);
  }

  press(key) {
    if (!/^[1-5]$/.test(key)) return false;
    this.set({ point: Number(key) - 3 });
    return true;
  }
}

class Odd {
  keys = [["1 2 3", "the odd one out"]];

  constructor(clips, question, onchange) {
    const options = new Map(clips.map((clip, place) => [place, [clip.name, "is the odd one"]]));
    this.scale = choices("odd", question, options, onchange, clips.map((clip, place) => String(place + 1)));
    this.element = make("div", { class: "answer" }, this.scale.element);
  }

  value() {
    const odd = this.scale.value();
    return odd === undefined ? undefined : { odd };
  }

  set(answer) {
    this.scale.set(answer ? answer.odd : undefined);
  }

  lock(on) {
    this.scale.lock(on);
  }

  press(key) {
    if (!/^[1-3]$/.test(key)) return false;
    this.set({ odd: Number(key) - 1 });
    return true;
  }
}

const BROAD = new Map([[0, ["Not"]], [1, ["Somewhat"]], [2, ["Very"]]]);
/** Where the slider stands when a word was chosen: in the middle of its third. */
const MIDDLE = [17, 50, 83];

class Graded {
  keys = [["N S V", "not, somewhat, very"], ["↑ ↓", "finer"]];

  constructor(clips, question, onchange) {
    this.clips = clips.filter((clip) => clip.slot !== "reference");
    this.onchange = onchange;
    this.rows = this.clips.map((clip) => this.row(clip));
    this.element = null; // the rows stand beside their players
  }

  row(clip) {
    const row = {};
    row.broad = choices(`broad-${clip.slot}`, `How similar is ${clip.name}`, BROAD, () => this.choose(row, row.broad.value()));
    row.number = make("output", {}, "–");
    row.fine = make("input", {
      type: "range", min: 0, max: 100, step: 1, value: 50, class: "unset", "aria-label": `${clip.name}: how similar, 0 to 100`,
      oninput: () => this.fine(row, Number(row.fine.value)),
    });
    row.element = make("div", { class: "grade" }, row.broad.element, make("div", { class: "fine" }, row.fine, row.number));
    return row;
  }

  choose(row, broad) {
    row.broad.set(broad);
    this.draw(row, MIDDLE[broad]);
    this.onchange();
  }

  /** A slider that was moved without a word chosen takes the word of its third. */
  fine(row, value) {
    if (row.broad.value() === undefined) row.broad.set(Math.min(2, Math.floor(value / 33.4)));
    this.draw(row, value);
    this.onchange();
  }

  draw(row, value) {
    row.fine.classList.toggle("unset", value === null);
    row.fine.value = value ?? 50;
    row.number.value = value ?? "–";
  }

  value() {
    const broad = this.rows.map((row) => row.broad.value());
    if (broad.includes(undefined)) return undefined;
    return { broad, fine: this.rows.map((row) => Number(row.fine.value)) };
  }

  set(answer) {
    this.rows.forEach((row, place) => {
      row.broad.set(answer?.broad[place] ?? undefined);
      this.draw(row, answer?.fine[place] ?? null);
    });
  }

  lock(on) {
    this.rows.forEach((row) => {
      row.broad.lock(on);
      row.fine.disabled = on;
    });
  }

  press(key, current) {
    const row = this.rows[this.clips.indexOf(current)];
    const broad = ["n", "s", "v"].indexOf(key);
    if (!row || (broad < 0 && key !== "ArrowUp" && key !== "ArrowDown")) return false;
    if (broad >= 0) this.choose(row, broad);
    else this.fine(row, Math.min(100, Math.max(0, Number(row.fine.value) + (key === "ArrowUp" ? 5 : -5))));
    return true;
  }
}

export const FORMS = { ab: Ab, graded: Graded, odd: Odd };
