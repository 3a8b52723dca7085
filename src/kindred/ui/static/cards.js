// Cards for tracks: results of a search, or the query itself. One component draws them all and keeps
// the elements of cards that did not change, so that a rerun neither flickers nor loses the focus.
//
// Says to Python:  event {action: "more" | "less" | "play" | "remove", track_id, nonce}
// Says on window:  kindred:play, kindred:toggle, kindred:seek (see player.js); hears kindred:state

const ACTIONS = {
  more: ["more", "More like this"],
  less: ["less", "Less like this"],
  remove: ["remove", "Remove"],
};
ICONS.hit = "M9.3 17.6 4.4 12.7l1.4-1.4 3.5 3.5 8.9-8.9 1.4 1.4z";
ICONS.miss = "m6.4 5 5.6 5.6L17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4z";
const VERDICTS = { hit: "Hit", miss: "Miss" };
const REASONS = ["timbre", "harmony", "rhythm", "dynamics"];

const trackOf = ({ track_id, title, subtitle, url, cover, peaks, duration }) =>
  ({ track_id, title, subtitle, url, cover, peaks, duration });

function send(name, detail) {
  window.dispatchEvent(new CustomEvent(name, { detail }));
}

let clicks = 0;

class Card {
  constructor(item, kind, deck) {
    this.item = item;
    this.deck = deck;
    this.active = false;
    const name = item.title || "Untitled";
    const heading = `kindred-title-${(clicks += 1)}`;

    this.playButton = make(
      "button",
      { type: "button", class: "play", "data-focus": "play", disabled: !item.playable, onclick: () => deck.play(item) },
    );
    const picture = pictureUrl(item.cover);
    const cover = make("div", { class: "cover" },
      picture ? make("img", { src: picture, alt: "", decoding: "async", draggable: "false" }) : null,
      this.playButton);

    this.wave = new Wave({
      pitch: kind === "query" ? 4 : 3,
      onSeek: (fraction) => deck.seek(item, fraction),
      onStep: (seconds) => deck.step(item, seconds),
    });
    this.wave.disabled = !item.playable;
    this.wave.element.tabIndex = -1;
    this.wave.element.dataset.focus = "wave";
    this.wave.setLabel(`Position in ${name}`);
    this.wave.setPeaks(item.peaks);

    const words = make("div", { class: "words" },
      kind === "query" ? make("p", { class: "eyebrow" }, "Query") : null,
      make("h3", { id: heading, class: item.title ? "title" : "title unknown", dir: "auto", title: name },
        item.rank ? make("span", { class: "rank", "aria-label": `Rank ${item.rank}` }, String(item.rank)) : null,
        name),
      make("p", { class: "subtitle", dir: "auto", title: item.subtitle || null }, item.subtitle || "Unknown composer"));
    const head = make("div", { class: "head" }, cover, words, this.similarity(item.similarity));

    this.time = make("span", { class: "chip time" }, clock(item.duration || Number.NaN));
    const chips = make("ul", { class: "chips", "aria-label": "About this track" });
    const chip = (text, name, extra = "") =>
      text && chips.append(make("li", { class: `chip ${extra}`, dir: "auto", title: `${name}: ${text}` }, String(text)));
    chip(item.album, "Album", "album");
    chip(item.genre, "Genre", "genre");
    chip(item.year, "Year");
    chip(item.format, "Format");
    const line = make("div", { class: "line" }, this.wave.element, this.time);

    const verdict = this.verdict(item.verdict, item.note);
    const body = kind === "query"
      ? [make("div", { class: "beside" }, words, verdict, chips, line, this.buttons(item, name))]
      : [verdict, head, line, chips.childElementCount ? chips : null, this.why(item.reasons), this.bars(item.bars), this.buttons(item, name)];
    if (kind === "query") body.unshift(cover);

    this.element = make("li", { class: "item" },
      make("article", { class: `card ${kind}`, "aria-labelledby": heading }, ...body.filter(Boolean)));
    this.article = this.element.firstChild;
    if (item.selected) this.article.toggleAttribute("data-selected", true);
    this.name = name;
    this.setState(deck.state);
  }

  /** A mark beside its word, which is read aloud and needs no colour to be understood. */
  verdict(value, note) {
    const word = VERDICTS[value];
    if (!word && !note) return null;
    return make("p", { class: `verdict ${word ? value : ""}`, dir: "auto" },
      word ? icon(value) : null, word ? make("b", {}, word) : null, note ? make("span", { title: note }, note) : null);
  }

  similarity(value) {
    if (value === null || value === undefined) return null;
    const text = value.toFixed(2).replace("-", "−");
    const bar = make("span", { class: "meter", "aria-hidden": "true" }, make("span", {}));
    bar.firstChild.style.width = `${clamp(value, 0, 1) * 100}%`;
    return make("div", { class: "similarity", title: "Cosine similarity, from −1 to 1: higher sounds nearer" },
      make("span", { class: "number" }, text), bar, make("span", { class: "unit" }, "similarity"));
  }

  why(reasons) {
    if (!reasons) return null;
    const bar = make("div", { class: "stack" });
    const legend = make("ul", { class: "legend", "aria-hidden": "true" });
    const sentence = [];
    for (const reason of REASONS) {
      const share = reasons[reason] ?? 0;
      const part = make("span", { class: reason });
      part.style.flexGrow = String(share);
      if (share > 0) bar.append(part);
      sentence.push(`${reason} ${share} %`);
      legend.append(make("li", { class: reason }, make("span", { class: "what" }, reason), make("b", {}, `${share} %`)));
    }
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", `Why it is near: ${sentence.join(", ")}`);
    return make("div", { class: "why" }, bar, legend);
  }

  bars(rows) {
    if (!rows?.length) return null;
    return make("ul", { class: "bars" }, ...rows.map(({ name, share, note }) => {
      const bar = make("span", { class: "meter", "aria-hidden": "true" }, make("span", {}));
      bar.firstChild.style.width = `${clamp(share, 0, 1) * 100}%`;
      return make("li", {}, make("span", { class: "what" }, name), bar, make("span", { class: "said" }, note));
    }));
  }

  buttons(item, name) {
    if (!this.deck.actions.length) return null;
    const row = make("div", { class: "actions" });
    for (const action of this.deck.actions) {
      const [symbol, label] = ACTIONS[action];
      const toggles = action !== "remove" && item.pressed !== null;
      row.append(make("button", {
        type: "button", class: `action ${action}`, "data-focus": action, "aria-pressed": toggles ? String(item.pressed === action) : null,
        "aria-label": `${label}: ${name}`, onclick: () => this.deck.tell(action, item),
      }, icon(symbol), make("span", {}, label)));
    }
    return row;
  }

  setState(state) {
    const active = Boolean(state) && state.track_id === this.item.track_id;
    if (!active && !this.active && this.drawn) return; // ninety-nine of a hundred cards stop here
    this.drawn = true;
    this.active = active;
    const playing = active && state.playing;
    this.article.toggleAttribute("data-active", active);
    this.article.toggleAttribute("data-playing", playing);
    const duration = active && state.duration ? state.duration : this.item.duration || Number.NaN;
    this.wave.setProgress(active ? state.position : 0, duration);
    this.wave.element.tabIndex = active ? 0 : -1;
    // One time only: a second one would take width from the waveform just when it is aimed at.
    this.time.textContent = clock(active ? state.position : duration);
    this.time.title = active ? `${clock(state.position)} of ${clock(duration)}` : "Duration";
    setIcon(this.playButton, playing ? "pause" : "play");
    const verb = this.item.playable ? (playing ? "Pause" : "Play") : "No file to play for";
    this.playButton.setAttribute("aria-label", `${verb} ${this.name}`);
  }
}

class Deck {
  constructor(root) {
    this.root = root;
    this.cards = new Map();
    this.list = make("ol", { class: "deck", role: "list" });
    root.replaceChildren(this.list);
    this.hear = (event) => {
      for (const { card } of this.cards.values()) card.setState(event.detail);
    };
    window.addEventListener("kindred:state", this.hear);
  }

  get state() {
    return window.kindred?.state ?? null;
  }

  update({ data, setTriggerValue }) {
    const { items, kind, served, actions, label } = data;
    Object.assign(this, { items, served, actions, setTriggerValue });
    this.list.className = `deck ${kind}`;
    this.list.setAttribute("aria-label", label);

    const focused = this.root.getRootNode().activeElement;
    const kept = new Map();
    const elements = items.map((item, index) => {
      const content = JSON.stringify([item, kind, served, actions]);
      // The same track may stand twice in a list, so the place is part of the key then.
      const key = kept.has(item.track_id) ? `${item.track_id}#${index}` : item.track_id;
      const before = this.cards.get(key);
      const card = before?.content === content ? before.card : new Card(item, kind, this);
      if (before && before.card !== card && before.card.element.contains(focused)) {
        card.refocus = focused.dataset.focus;
      }
      kept.set(key, { content, card });
      return card.element;
    });
    this.cards = kept;
    const same = elements.length === this.list.children.length && elements.every((one, i) => one === this.list.children[i]);
    if (!same) this.list.replaceChildren(...elements);
    for (const { card } of kept.values()) {
      if (card.refocus) card.element.querySelector(`[data-focus="${card.refocus}"]`)?.focus();
      else if (focused && !same && card.element.contains(focused)) focused.focus();
      card.refocus = null;
    }
  }

  tell(action, item) {
    // Equal values are one value to Streamlit; the nonce makes two clicks two events.
    clicks += 1;
    this.setTriggerValue("event", { action, track_id: item.track_id, nonce: `${Date.now()}-${clicks}` });
  }

  play(item) {
    if (!this.served) this.tell("play", item);
    else if (this.state?.track_id === item.track_id) send("kindred:toggle");
    else this.start(item);
  }

  /** Dispatched inside the click itself: phones only allow sound from a gesture. */
  start(item, at = null) {
    const queue = this.items.filter((other) => other.playable).map(trackOf);
    send("kindred:play", { ...trackOf(item), queue, at: at ?? (item.at || null) });
  }

  seek(item, fraction) {
    if (!this.served) this.tell("play", item);
    else if (this.state?.track_id === item.track_id) send("kindred:seek", { track_id: item.track_id, at: fraction });
    else this.start(item, fraction);
  }

  step(item, seconds) {
    const { state } = this;
    if (state?.track_id === item.track_id && state.duration) {
      this.seek(item, clamp((state.position + seconds) / state.duration, 0, 1));
    }
  }

  destroy() {
    window.removeEventListener("kindred:state", this.hear);
  }
}

// Streamlit calls the module again for new data or a new theme and cleans up only at the end, so the
// deck is found again by its root.
const decks = new WeakMap();

export default function (component) {
  const root = component.parentElement.querySelector(".kindred-cards");
  if (!decks.has(root)) decks.set(root, new Deck(root));
  const deck = decks.get(root);
  deck.update(component);
  return () => {
    deck.destroy();
    decks.delete(root);
  };
}
