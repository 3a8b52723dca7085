// What stands around the points: the two canvases, the tools, the notes and the place of the legend.

ICONS.plus = "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6V5Z";
ICONS.minus = "M5 11h14v2H5z";
ICONS.fit = "M4 4h6v2H6v4H4V4Zm10 0h6v6h-2V6h-4V4ZM4 14h2v4h4v2H4v-6Zm14 0h2v6h-6v-2h4v-4Z";
ICONS.lasso = "M12 4c-5 0-9 2.7-9 6 0 2 1.4 3.7 3.6 4.8-.4.5-.6 1-.6 1.7 0 1.3 1 2.3 2.3 2.4-.2.6-.6 1-1.3 1.4l.9 1.7c1.6-.8 2.5-2.1 2.6-3.7.5-.4.8-1 .8-1.7v-.7H12c5 0 9-2.6 9-5.9s-4-6-9-6Zm0 10-1.2-.1c-.5-.5-1.2-.9-2-.9-.3 0-.6 0-.9.1C6.1 12.4 5 11.3 5 10c0-2.2 3.2-4 7-4s7 1.8 7 4-3.2 4-7 4Z";
ICONS.box = "M4 4h3v2H6v1H4V4Zm5 0h6v2H9V4Zm8 0h3v3h-2V6h-1V4ZM4 9h2v6H4V9Zm14 0h2v6h-2V9ZM4 17h2v1h1v2H4v-3Zm14 0h2v3h-3v-2h1v-1ZM9 18h6v2H9v-2Z";
ICONS.clear = ICONS.remove;

class MapFrame {
  /** `actions` are what the tools do, by name: zoomIn, zoomOut, fit, lasso, box, clear. */
  constructor(root, { actions, tip, legend }) {
    this.root = root;
    this.points = make("canvas", { class: "points", "aria-hidden": "true" });
    this.surface = make("canvas", { class: "overlay", tabindex: 0, role: "application" });
    this.note = make("p", { class: "note", hidden: true, role: "status" });
    this.live = make("p", { class: "live", "aria-live": "polite" });
    this.counter = make("p", { class: "counter", "aria-live": "polite", hidden: true });
    const tool = (name, label, onclick) => {
      const button = make("button", { type: "button", class: `tool ${name}`, title: label, "aria-label": label, onclick });
      setIcon(button, name);
      return button;
    };
    this.tools = {
      plus: tool("plus", "Zoom in", actions.zoomIn),
      minus: tool("minus", "Zoom out", actions.zoomOut),
      fit: tool("fit", "Show the whole map", actions.fit),
      lasso: tool("lasso", "Select with a lasso (or drag with Shift)", actions.lasso),
      box: tool("box", "Select with a box", actions.box),
      clear: tool("clear", "Clear the selection", actions.clear),
    };
    const bar = make("div", { class: "tools", role: "toolbar", "aria-label": "Map" }, ...Object.values(this.tools));
    this.stage = make("div", { class: "stage" }, this.points, this.surface, bar, this.counter, this.note, tip);
    root.replaceChildren(this.stage, legend, this.live);
    this.showTool(null);
    this.showSelection(0);
  }

  showTool(name) {
    for (const one of ["lasso", "box"]) this.tools[one].setAttribute("aria-pressed", String(name === one));
    this.surface.classList.toggle("selecting", Boolean(name));
  }

  showSelection(count) {
    this.tools.clear.hidden = this.counter.hidden = !count;
    this.counter.textContent = `${count.toLocaleString("en")} selected`;
  }

  describe({ label, count, height }) {
    this.stage.style.setProperty("--height", `${height}px`);
    this.root.classList.toggle("empty", !count);
    this.surface.setAttribute("aria-label",
      `${label}: ${count.toLocaleString("en")} tracks. Arrow keys go from track to track, Enter plays, plus and minus zoom.`);
  }

  say(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  /** Colours and type as Streamlit has set them around us. */
  theme() {
    const style = getComputedStyle(this.root);
    const colour = (name) => style.getPropertyValue(`--st-${name}-color`).trim();
    const [ground, text, link] = ["background", "text", "link"].map(colour);
    const isHex = (value) => /^#[0-9a-f]{6}$/i.test(value);
    return {
      ground, text, link, font: style.fontFamily,
      dark: isHex(ground) && Math.max(...rgb(ground)) < 128,
      ink: rgb(isHex(text) ? text : "#888888"),
    };
  }
}
