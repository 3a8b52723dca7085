// The map as a file of its own, without a server: the same drawing, and a box to find a track by its
// name. `PAGE` ({state, points, colours}) stands in the file before this text.

const SHOWN = 8; // what was found and is listed

/** Lower case without accents, so that "dvorak" finds Dvořák. */
function folded(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

class Finder {
  constructor(box, list, points, onFound) {
    Object.assign(this, { box, list, onFound });
    this.texts = points.titles.map((title, i) => folded(`${title} ${points.subtitles[i]}`));
    this.points = points;
    box.addEventListener("input", () => this.search());
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.list.querySelector("button")?.click();
      if (event.key === "Escape") this.close();
    });
  }

  search() {
    const words = folded(this.box.value).split(/\s+/).filter(Boolean);
    const found = [];
    for (let i = 0; words.length && i < this.texts.length && found.length < SHOWN; i += 1) {
      if (words.every((word) => this.texts[i].includes(word))) found.push(i);
    }
    const rows = found.map((i) => make("li", {}, make("button", { type: "button", onclick: () => this.choose(i) },
      make("b", { dir: "auto" }, this.points.titles[i] || "Untitled"), make("span", { dir: "auto" }, this.points.subtitles[i]))));
    if (words.length && !rows.length) rows.push(make("li", { class: "none" }, "Nothing is called that."));
    this.list.replaceChildren(...rows);
    this.list.hidden = !rows.length;
  }

  choose(i) {
    this.close();
    this.onFound(i);
  }

  close() {
    this.list.hidden = true;
  }
}

async function start() {
  const store = new MapStore();
  store.put(fromBase64(PAGE.points));
  store.put(fromBase64(PAGE.colours));
  const view = new MapView(document.querySelector(".kindred-map"), { store, tell: () => {} });
  const update = () => view.update({ ...PAGE.state, height: Math.max(320, innerHeight - 190) });
  await update();
  window.addEventListener("resize", update);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  new Finder(document.querySelector(".find input"), document.querySelector(".find ul"), view.points, (i) => {
    view.opened = i;
    view.flyTo(i, { atOnce: true });
    view.point(i);
  });
}

start();
