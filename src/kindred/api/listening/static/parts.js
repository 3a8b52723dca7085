// What every screen is made of.

/** Build an element. Text only ever arrives as text: nothing here parses markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function button(text, onclick, kind = "", key = "") {
  return make("button", { type: "button", class: kind, onclick, "data-key": key }, text, key && make("kbd", { "aria-hidden": "true" }, key));
}

/** The heading of a screen; it takes the focus, so that a screen reader starts there. */
export function heading(text) {
  return make("h1", { tabindex: -1 }, text);
}

export function paragraph(text, kind = null) {
  return make("p", { class: kind }, text);
}

/** Lines of what a key does: ``[["Space", "play or pause"], ...]``. */
export function keys(pairs) {
  const lines = pairs.map(([key, words]) =>
    make("li", {}, ...key.split(" ").map((name) => make("kbd", {}, name)), ` ${words}`));
  return make("ul", { class: "keys", "aria-label": "Keys" }, ...lines);
}

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  play: "M13 9.6v20.8c0 1.3 1.5 2.1 2.6 1.3l15.6-10.4c1-.6 1-2 0-2.6L15.6 8.3c-1.1-.8-2.6 0-2.6 1.3Z",
  pause: "M12.5 9h4c.8 0 1.5.7 1.5 1.5v19c0 .8-.7 1.5-1.5 1.5h-4c-.8 0-1.5-.7-1.5-1.5v-19c0-.8.7-1.5 1.5-1.5Zm11 0h4c.8 0 1.5.7 1.5 1.5v19c0 .8-.7 1.5-1.5 1.5h-4c-.8 0-1.5-.7-1.5-1.5v-19c0-.8.7-1.5 1.5-1.5Z",
};

function shape(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A round picture of playing: ``set(share, playing)`` draws how far, 0 to 1. */
export function ring() {
  const circle = (kind) => shape("circle", { cx: 28, cy: 28, r: 25, class: kind, pathLength: 1 });
  const past = circle("past");
  const picture = shape("path", { d: PATHS.play, transform: "translate(8 8)", fill: "currentColor" });
  const element = shape("svg", { viewBox: "0 0 56 56", class: "ring", "aria-hidden": "true" },
    circle("base"), past, picture);
  const set = (share, playing) => {
    past.style.strokeDasharray = `${share} 2`;
    picture.setAttribute("d", playing ? PATHS.pause : PATHS.play);
  };
  set(0, false);
  return { element, set };
}

/** Seconds as ``0:07``. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 0.05));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** "A, B and C". */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** Whether a key pressed belongs to a text field. */
export function isWriting(event) {
  return event.target instanceof HTMLTextAreaElement;
}
