// What colour a point has, and the legend that says why.

// Twelve colours and two greys that stay apart for people with any of the three colour blindnesses
// and show on light and on dark ground; chosen by a search, see docs/decisions/0019.
const HUES = [
  "#5549ce", "#aa0000", "#c2b631", "#49c2c2", "#ce5579", "#b66dc2",
  "#7979ff", "#863d55", "#798618", "#aaaaff", "#e79286", "#6d4992",
];
const OTHER = "#7d766f";
const UNKNOWN = "#a9a29a";
const UNKNOWN_SHADE = 255;
// From near the ground to far from it, so that high values stand out in both themes (viridis).
const RAMP = ["#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"];
const RAMP_ON_LIGHT = ["#a5db36", "#5ec962", "#35b779", "#1f9e89", "#26828e", "#31688e", "#3e4989", "#482878", "#440154"];
const STEPS = 255;

function rgb(hex) {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
}

function along(ramp, share) {
  const place = clamp(share, 0, 1) * (ramp.length - 1);
  const before = Math.min(Math.floor(place), ramp.length - 2);
  const [from, to] = [rgb(ramp[before]), rgb(ramp[before + 1])];
  return from.map((value, i) => Math.round(value + (to[i] - value) * (place - before)));
}

class Colours {
  constructor({ title, unit, names, codes, values, low, high }) {
    Object.assign(this, { title, unit, names, low, high });
    this.values = values === undefined ? null : floats(values);
    this.codes = codes === undefined ? null : integers(codes);
    this.shades = this.codes
      ? Uint8Array.from(this.codes, (code) => (code < 0 ? UNKNOWN_SHADE : Math.min(code, HUES.length)))
      : Uint8Array.from(this.values, (value) =>
          Number.isNaN(value) ? UNKNOWN_SHADE : Math.round(clamp(this.share(value), 0, 1) * (STEPS - 1)));
    this.counts = new Uint32Array(256);
    for (const shade of this.shades) this.counts[shade] += 1;
  }

  share(value) {
    return this.high > this.low ? (value - this.low) / (this.high - this.low) : 0.5;
  }

  ramp(dark) {
    return dark ? RAMP : RAMP_ON_LIGHT;
  }

  /** 256 RGBA colours; what is hidden has alpha 0. */
  palette({ dark, opacity, hidden }) {
    const colours = new Uint8Array(4 * 256);
    for (let shade = 0; shade < 256; shade += 1) {
      let colour = rgb(HUES[shade] ?? (shade === UNKNOWN_SHADE ? UNKNOWN : OTHER));
      if (!this.codes && shade !== UNKNOWN_SHADE) colour = along(this.ramp(dark), shade / (STEPS - 1));
      const alpha = shade === UNKNOWN_SHADE ? 0.55 * opacity : opacity;
      colours.set([...colour, hidden.has(shade) ? 0 : Math.round(255 * alpha)], 4 * shade);
    }
    return colours;
  }

  css(i, dark) {
    const shade = this.shades[i];
    if (shade === UNKNOWN_SHADE) return UNKNOWN;
    return this.codes ? HUES[shade] ?? OTHER : `rgb(${along(this.ramp(dark), shade / (STEPS - 1))})`;
  }

  /** What a point has: "Baroque" or "112 bpm". */
  text(i) {
    if (this.shades[i] === UNKNOWN_SHADE) return this.title ? `${this.title}: unknown` : "";
    return this.codes ? this.names[this.codes[i]] : `${this.title}: ${this.number(this.values[i])}`;
  }

  number(value) {
    const digits = Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
    return [value.toFixed(digits).replace("-", "−"), this.unit].filter(Boolean).join(" ");
  }

  /** The rows of a legend: [shade, name, how many]. */
  rows() {
    const rows = [];
    if (this.codes) {
      this.names.slice(0, HUES.length).forEach((name, shade) => rows.push([shade, name]));
      const others = this.names.length - HUES.length;
      if (others > 0) rows.push([HUES.length, `${others} other${others > 1 ? "s" : ""}`]);
    }
    if (this.counts[UNKNOWN_SHADE]) rows.push([UNKNOWN_SHADE, "Unknown"]);
    return rows.map(([shade, name]) => [shade, name, this.counts[shade]]);
  }
}

/** A click hides, a double click or a click with Alt shows one alone (or all again). */
class Legend {
  constructor(onChange) {
    this.element = make("div", { class: "legend" });
    this.onChange = onChange;
    this.hidden = new Set();
  }

  show(colours, dark) {
    this.colours = colours;
    this.hidden = new Set();
    const rows = colours.rows();
    this.buttons = new Map(rows.map(([shade, name, count]) => [shade, this.button(shade, name, count)]));
    const list = make("ul", { "aria-label": `${colours.title || "Colours"}: what is shown` },
      ...[...this.buttons.values()].map((button) => make("li", {}, button)));
    const title = colours.title ? make("p", { class: "legend-title" }, colours.title) : null;
    this.element.replaceChildren(...[title, colours.values && this.bar(colours), rows.length ? list : null].filter(Boolean));
    this.dye(dark);
    this.mark();
  }

  button(shade, name, count) {
    const swatch = make("span", { class: "swatch" });
    swatch.style.setProperty("--swatch", HUES[shade] ?? (shade === UNKNOWN_SHADE ? UNKNOWN : OTHER));
    return make("button", {
      type: "button", title: `${name}: a click hides, a double click shows it alone`, "data-shade": shade,
      onclick: (event) => (event.altKey ? this.isolate(shade) : this.toggle(shade)),
      ondblclick: () => this.isolate(shade),
    }, swatch, make("span", { class: "name", dir: "auto" }, name), make("span", { class: "count" }, count.toLocaleString("en")));
  }

  bar(colours) {
    this.gradient = make("span", { class: "gradient" });
    return make("div", { class: "bar", role: "img", "aria-label": `From ${colours.number(colours.low)} to ${colours.number(colours.high)}` },
      make("span", {}, colours.number(colours.low)), this.gradient, make("span", {}, colours.number(colours.high)));
  }

  dye(dark) {
    if (this.colours?.values) this.gradient.style.background = `linear-gradient(90deg, ${this.colours.ramp(dark).join(", ")})`;
  }

  toggle(shade) {
    if (!this.hidden.delete(shade)) this.hidden.add(shade);
    this.mark();
    this.onChange();
  }

  isolate(shade) {
    const others = [...this.buttons.keys()].filter((other) => other !== shade);
    if (this.colours.values) others.push(...Array(STEPS).keys());
    const alone = !this.hidden.has(shade) && others.every((other) => this.hidden.has(other));
    this.hidden = new Set(alone ? [] : others);
    this.mark();
    this.onChange();
  }

  mark() {
    for (const [shade, button] of this.buttons) button.setAttribute("aria-pressed", String(!this.hidden.has(shade)));
  }
}
