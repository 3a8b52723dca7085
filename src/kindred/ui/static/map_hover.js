// The small card beside a point: cover, title, composer, and what its colour means.

/** Letters on the colour of the point, for a track without a picture. */
function initialsPicture(title, colour) {
  const words = title.split(/\s+/).map((word) => [...word].filter((one) => /[\p{L}\p{N}]/u.test(one))[0] ?? "");
  const letters = words.filter(Boolean).slice(0, 2).join("").toUpperCase();
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><rect width="100" height="100" fill="${colour}"/>`
    + `<text x="50" y="64" text-anchor="middle" font-family="Georgia, serif" font-size="40" fill="#fff">${letters}</text></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

class HoverCard {
  constructor() {
    this.picture = make("img", { alt: "", width: 48, height: 48, draggable: "false" });
    this.title = make("div", { class: "tip-title", dir: "auto" });
    this.subtitle = make("div", { class: "tip-subtitle", dir: "auto" });
    this.value = make("div", { class: "tip-value", dir: "auto" });
    this.element = make("div", { class: "tip", hidden: true },
      this.picture, make("div", { class: "tip-words" }, this.title, this.subtitle, this.value));
    this.covers = new Map(); // address -> whether there is a picture
  }

  show({ title, subtitle, value, colour, cover, x, y, width, height }) {
    this.title.textContent = title || "Untitled";
    this.subtitle.textContent = subtitle || "Unknown composer";
    this.value.textContent = value;
    this.letters = initialsPicture(title || "", colour);
    this.paint(cover);
    this.element.hidden = false;
    const box = this.element.getBoundingClientRect();
    // Beside the point, else below or above it: never on it.
    const room = (place, size, whole) => clamp(place, 4, Math.max(4, whole - size - 4));
    const aside = [x + 16, x - 16 - box.width].find((left) => left >= 4 && left + box.width <= width - 4);
    const below = y + 16 + box.height <= height - 4 ? y + 16 : y - 16 - box.height;
    this.element.style.left = `${aside ?? room(x - box.width / 2, box.width, width)}px`;
    this.element.style.top = `${room(aside === undefined ? below : y - box.height / 2, box.height, height)}px`;
  }

  hide() {
    this.element.hidden = true;
    clearTimeout(this.timer);
  }

  /** A pointer that only passes by asks for nothing. */
  paint(cover) {
    clearTimeout(this.timer);
    this.wanted = cover;
    this.picture.src = this.coverOr(cover);
    if (!cover || this.covers.has(cover)) return;
    this.timer = setTimeout(() => {
      const image = new Image();
      image.onload = image.onerror = ({ type }) => {
        this.covers.set(cover, type === "load");
        if (this.wanted === cover) this.picture.src = this.coverOr(cover);
      };
      image.src = cover;
    }, 80);
  }

  /** The picture where it is known to exist, else the letters. */
  coverOr(cover) {
    return this.covers.get(cover) ? cover : this.letters;
  }
}
