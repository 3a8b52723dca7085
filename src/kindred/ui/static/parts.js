// What the player and the cards are both made of. Python puts this text before either file, so the
// two stay one module each and share nothing at run time but `window.kindred`.

const SVG_NS = "http://www.w3.org/2000/svg";

const ICONS = {
  play: "M8 5.1v13.8c0 .8.9 1.3 1.6.8l10.6-6.9c.6-.4.6-1.2 0-1.6L9.6 4.3C8.9 3.8 8 4.3 8 5.1Z",
  pause: "M7 4.5h3c.6 0 1 .4 1 1v13c0 .6-.4 1-1 1H7c-.6 0-1-.4-1-1v-13c0-.6.4-1 1-1Zm7 0h3c.6 0 1 .4 1 1v13c0 .6-.4 1-1 1h-3c-.6 0-1-.4-1-1v-13c0-.6.4-1 1-1Z",
  previous: "M6 5h1.6c.4 0 .7.3.7.7v4.9l8.5-5.4c.7-.4 1.5 0 1.5.8v12c0 .8-.8 1.2-1.5.8l-8.5-5.4v4.9c0 .4-.3.7-.7.7H6c-.4 0-.7-.3-.7-.7V5.7c0-.4.3-.7.7-.7Z",
  next: "M18 5h-1.6c-.4 0-.7.3-.7.7v4.9L7.2 5.2c-.7-.4-1.5 0-1.5.8v12c0 .8.8 1.2 1.5.8l8.5-5.4v4.9c0 .4.3.7.7.7H18c.4 0 .7-.3.7-.7V5.7c0-.4-.3-.7-.7-.7Z",
  loud: "M4 9.2h3.2l4.3-3.8c.5-.4 1.2-.1 1.2.5v12.2c0 .6-.7.9-1.2.5l-4.3-3.8H4c-.5 0-.9-.4-.9-.9v-3.8c0-.5.4-.9.9-.9Zm11.9-.7c1.9 1.9 1.9 5.1 0 7l-1-1c1.3-1.4 1.3-3.6 0-5l1-1Zm2.4-2.4c3.3 3.3 3.3 8.5 0 11.8l-1-1c2.7-2.7 2.7-7.1 0-9.8l1-1Z",
  mute: "M4 9.2h3.2l4.3-3.8c.5-.4 1.2-.1 1.2.5v12.2c0 .6-.7.9-1.2.5l-4.3-3.8H4c-.5 0-.9-.4-.9-.9v-3.8c0-.5.4-.9.9-.9Zm11.4.4 2.1 2.1 2.1-2.1 1 1-2.1 2.1 2.1 2.1-1 1-2.1-2.1-2.1 2.1-1-1 2.1-2.1-2.1-2.1 1-1Z",
  more: "M11.2 5h1.6v6.2H19v1.6h-6.2V19h-1.6v-6.2H5v-1.6h6.2V5Z",
  less: "M5 11.2h14v1.6H5z",
  remove: "m6.5 5.4 5.5 5.5 5.5-5.5 1.1 1.1-5.5 5.5 5.5 5.5-1.1 1.1-5.5-5.5-5.5 5.5-1.1-1.1 5.5-5.5-5.5-5.5 1.1-1.1Z",
};

/** Build an element. Text only ever arrives as text: nothing here parses markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function shape(tag, attributes) {
  const element = document.createElementNS(SVG_NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function icon(name) {
  const svg = shape("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", class: "icon" });
  svg.append(shape("path", { d: ICONS[name], fill: "currentColor" }));
  return svg;
}

/** Change a button's picture only when it differs: replacing it under a finger loses the click. */
function setIcon(button, name) {
  if (button.dataset.icon === name) return;
  button.dataset.icon = name;
  button.querySelector(".icon")?.remove();
  button.prepend(icon(name));
}

function clock(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–:––";
  const whole = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** Columns 0..255, from an array or from base64 as Python sends them. */
function columns(peaks) {
  if (typeof peaks !== "string") return peaks ?? [];
  return Uint8Array.from(atob(peaks), (letter) => letter.charCodeAt(0));
}

/** Pictures come with the data or from the app itself, so that a cover never calls the outside. */
function pictureUrl(cover) {
  if (!cover) return null;
  if (/^(data:image\/|blob:)/.test(cover)) return cover;
  try {
    const url = new URL(cover, document.baseURI);
    return url.origin === location.origin ? url.href : null;
  } catch {
    return null;
  }
}

// One observer for every waveform: a hundred cards would otherwise bring a hundred of them.
const resized = new ResizeObserver((entries) => {
  for (const entry of entries) entry.target.kindredDraw?.();
});

/**
 * A waveform that is also the seek slider.
 *
 * Two copies of one path lie on each other; progress only moves the clip of the upper one, so
 * playing costs no drawing. It is drawn again when the width changes, with bars of whole pixels.
 */
class Wave {
  constructor({ pitch = 3, onSeek, onStep, onPreview = null }) {
    this.pitch = pitch;
    this.peaks = [];
    this.duration = Number.NaN;
    this.dragging = false;
    this.onPreview = onPreview;
    this.svg = shape("svg", { "aria-hidden": "true" });
    this.base = shape("path", { class: "wave-base" });
    this.done = shape("path", { class: "wave-done" });
    this.svg.append(this.base, this.done);
    this.element = make("div", { class: "wave", role: "slider", "aria-valuemin": 0 });
    this.element.append(this.svg);
    this.element.kindredDraw = () => this.draw();
    resized.observe(this.element);

    this.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.disabled) return;
      this.dragging = true;
      this.element.setPointerCapture(event.pointerId);
      this.preview(event);
    });
    this.element.addEventListener("pointermove", (event) => this.dragging && this.preview(event));
    this.element.addEventListener("pointerup", (event) => {
      if (!this.dragging) return;
      this.dragging = false;
      onSeek(this.fractionAt(event));
    });
    // A browser that takes the gesture for scrolling cancels it: nothing was asked for then.
    this.element.addEventListener("pointercancel", () => {
      this.dragging = false;
    });
    this.element.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -30, PageUp: 30 };
      if (event.key in steps) onStep(steps[event.key]);
      else if (event.key === "Home") onSeek(0);
      else if (event.key === "End") onSeek(1);
      else return;
      event.preventDefault();
    });
  }

  fractionAt(event) {
    const box = this.element.getBoundingClientRect();
    return box.width ? clamp((event.clientX - box.left) / box.width, 0, 1) : 0;
  }

  preview(event) {
    const fraction = this.fractionAt(event);
    this.paint(fraction);
    this.onPreview?.(fraction);
  }

  setPeaks(peaks) {
    this.peaks = columns(peaks);
    this.draw();
  }

  setLabel(label) {
    this.element.setAttribute("aria-label", label);
  }

  setProgress(position, duration) {
    if (this.dragging) return;
    const known = Number.isFinite(duration) && duration > 0;
    this.paint(known ? position / duration : 0);
    this.element.setAttribute("aria-valuemax", known ? Math.round(duration) : 0);
    this.element.setAttribute("aria-valuenow", Math.round(position));
    this.element.setAttribute("aria-valuetext", `${clock(position)} of ${clock(duration)}`);
  }

  paint(fraction) {
    this.done.style.clipPath = `inset(0 ${(100 * (1 - clamp(fraction, 0, 1))).toFixed(3)}% 0 0)`;
  }

  draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width || !height) return;
    const count = Math.max(1, Math.floor(width / this.pitch));
    const loudest = Math.max(1, ...this.peaks);
    const bar = Math.max(1.5, this.pitch - 1.25);
    const middle = height / 2;
    let path = "";
    for (let i = 0; i < count; i += 1) {
      const from = Math.floor((i * this.peaks.length) / count);
      const to = Math.max(from + 1, Math.floor(((i + 1) * this.peaks.length) / count));
      let peak = 0;
      for (let j = from; j < to && j < this.peaks.length; j += 1) peak = Math.max(peak, this.peaks[j]);
      // The round caps add half a bar at each end, so the line itself is shorter by one bar.
      const half = Math.max(0.01, ((peak / loudest) * (height - bar)) / 2 - 0.5);
      const x = ((i + 0.5) * width) / count;
      path += `M${x.toFixed(2)} ${(middle - half).toFixed(2)}V${(middle + half).toFixed(2)}`;
    }
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    for (const line of [this.base, this.done]) {
      line.setAttribute("d", path);
      line.setAttribute("stroke-width", bar);
    }
  }
}
