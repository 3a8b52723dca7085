// The one player. Streamlit mounts this component again on every page; the bar and its <audio>
// live in the window instead, so that sound goes on while the page below is rebuilt.
//
// Hears on window:  kindred:play   {track_id, title, subtitle, url, cover, peaks, duration?, queue?, at?}
//                   kindred:toggle {}
//                   kindred:seek   {track_id, at}        `at` is a share of the track, 0..1
// Says on window:   kindred:state  {track_id, playing, position, duration}, also window.kindred.state

const THEME = [
  "link-color", "background-color", "secondary-background-color", "text-color", "border-color",
  "red-text-color", "font", "heading-font",
];

// Where a space belongs to what has the focus and not to the player.
const OWNS_SPACE = [
  "input", "textarea", "select", "button", "a[href]", "summary", "audio", "video", "canvas",
  "[contenteditable]:not([contenteditable=false])", "[role=gridcell]", "[role=grid]", "[role=button]",
  "[role=checkbox]", "[role=switch]", "[role=radio]", "[role=option]", "[role=listbox]",
  "[role=combobox]", "[role=menuitem]", "[role=tab]",
].join(",");

const ROOM = `
html[data-kindred-bar] [data-testid="stMainBlockContainer"] {
  padding-bottom: calc(var(--kindred-bar-height) + 2.5rem);
}
html[data-kindred-bar] [data-testid="stMain"] { scroll-padding-bottom: var(--kindred-bar-height); }
html[data-kindred-bar] [data-testid="stSidebarContent"] { padding-bottom: var(--kindred-bar-height); }
html[data-kindred-bar] [data-testid="stBottom"] { bottom: var(--kindred-bar-height); }
`;

class Player {
  constructor(namespace) {
    this.namespace = namespace;
    this.track = null;
    this.queue = [];
    this.pageQueue = [];
    this.place = 0;
    this.order = null;
    this.failed = false;
    this.pending = null;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.build();
    this.listen();
    this.mediaSession();
    this.announce();
  }

  build() {
    this.audio = make("audio", { preload: "metadata" });
    this.host = make("div", { id: "kindred-player", hidden: true });
    const shadow = this.host.attachShadow({ mode: "open" });
    this.sheet = new CSSStyleSheet();
    shadow.adoptedStyleSheets = [this.sheet];

    const button = (name, label, onclick, extra = "") => {
      const element = make("button", { type: "button", class: `round ${extra}`, "aria-label": label, title: label, onclick });
      setIcon(element, name);
      return element;
    };
    this.cover = make("img", { class: "cover", alt: "", hidden: true });
    this.title = make("div", { class: "title", dir: "auto" });
    this.subtitle = make("div", { class: "subtitle", dir: "auto" });
    this.message = make("div", { class: "message", role: "status" });
    this.previousButton = button("previous", "Previous track", () => this.previous());
    this.playButton = button("play", "Play", () => this.toggle(), "main");
    this.nextButton = button("next", "Next track", () => this.next());
    this.elapsed = make("span", { class: "time elapsed" });
    this.total = make("span", { class: "time total" });
    this.wave = new Wave({
      pitch: 4,
      onSeek: (fraction) => this.seek(fraction),
      onStep: (seconds) => this.step(seconds),
      onPreview: (fraction) => {
        this.elapsed.textContent = clock(fraction * this.duration);
      },
    });
    this.wave.element.tabIndex = 0;
    this.muteButton = button("loud", "Mute", () => this.mute());
    this.volume = make("input", {
      type: "range", min: 0, max: 1, step: 0.01, "aria-label": "Volume",
      oninput: () => this.setVolume(Number(this.volume.value)),
    });

    this.bar = make(
      "section",
      { class: "bar", "aria-label": "Player" },
      make("div", { class: "track" }, make("div", { class: "frame" }, this.cover),
        make("div", { class: "names" }, this.title, this.subtitle, this.message)),
      make("div", { class: "buttons" }, this.previousButton, this.playButton, this.nextButton),
      make("div", { class: "line" }, this.elapsed, this.wave.element, this.total),
      make("div", { class: "sound" }, this.muteButton, this.volume),
    );
    shadow.append(this.audio, this.bar);
    document.body.append(this.host);
    document.head.append(Object.assign(make("style", { id: "kindred-player-room" }), { textContent: ROOM }));
    new ResizeObserver(() => {
      const height = `${this.bar.offsetHeight}px`;
      document.documentElement.style.setProperty("--kindred-bar-height", height);
    }).observe(this.bar);
    this.setVolume(this.rememberedVolume());
  }

  listen() {
    window.addEventListener("kindred:play", (event) => this.start(event.detail, event.detail));
    window.addEventListener("kindred:toggle", () => this.toggle());
    window.addEventListener("kindred:seek", (event) => {
      if (this.track && event.detail.track_id === this.track.track_id) this.seek(event.detail.at);
    });
    window.addEventListener("keydown", (event) => this.onSpace(event));
    this.bar.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || event.target === this.volume) return;
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        this.step(event.key === "ArrowLeft" ? -5 : 5);
        event.preventDefault();
      }
    });
    // A player that Streamlit drew itself must not sound together with this one.
    document.addEventListener("play", (event) => event.target !== this.audio && this.audio.pause(), true);

    const { audio } = this;
    for (const name of ["play", "playing", "pause", "timeupdate", "seeked", "durationchange"]) {
      audio.addEventListener(name, () => this.announce());
    }
    audio.addEventListener("loadedmetadata", () => {
      if (this.pending !== null) audio.currentTime = this.pending * this.duration;
      this.pending = null;
      this.announce();
    });
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio, video")) other.pause();
      this.animate();
    });
    audio.addEventListener("playing", () => {
      this.say("");
      this.bar.removeAttribute("aria-busy");
    });
    audio.addEventListener("waiting", () => this.bar.setAttribute("aria-busy", "true"));
    audio.addEventListener("ended", () => {
      if (!this.next()) this.announce();
    });
    audio.addEventListener("error", () => this.explain());
  }

  // --- what Streamlit sends -----------------------------------------------------------------

  /** Take looks from the place where Streamlit mounted us; called again when its theme changes. */
  adopt(root) {
    const mount = root.host ?? root;
    const style = getComputedStyle(mount);
    for (const name of THEME) {
      this.bar.style.setProperty(`--st-${name}`, style.getPropertyValue(`--st-${name}`));
    }
    const css = root.querySelector("style")?.textContent ?? "";
    if (css !== this.css) {
      this.css = css;
      this.sheet.replaceSync(css);
    }
    // The mount is empty; out of the flow it also takes no gap between its neighbours.
    const box = mount.closest('[data-testid="stElementContainer"]');
    if (box) box.style.position = "absolute";
  }

  /** An order is carried out once: a rerun or another page repeats it and must not restart it. */
  receive({ track, autoplay, queue, request }) {
    this.pageQueue = queue ?? [];
    if (!track) return;
    const order = JSON.stringify([track.track_id, Boolean(autoplay), request]);
    if (order === this.order) return;
    this.order = order;
    if (autoplay) this.start(track, { queue: this.pageQueue });
    else if (this.audio.paused) this.load(track, this.pageQueue);
  }

  // --- playing ------------------------------------------------------------------------------

  get duration() {
    const { duration } = this.audio;
    return Number.isFinite(duration) && duration > 0 ? duration : this.track?.duration || Number.NaN;
  }

  get playing() {
    return Boolean(this.track) && !this.audio.paused && !this.audio.ended && !this.failed;
  }

  start(track, { queue = null, at = null } = {}) {
    if (this.track?.track_id !== track.track_id || this.failed) this.load(track, queue);
    else if (queue) this.arrange(track, queue);
    if (at !== null && at !== undefined) this.seek(at);
    this.play();
  }

  load(track, queue) {
    this.arrange(track, queue);
    this.track = track;
    this.failed = false;
    this.pending = null;
    this.say("");
    this.bar.removeAttribute("aria-busy");
    this.title.textContent = track.title || "Untitled";
    this.subtitle.textContent = track.subtitle ?? "";
    this.names = [track.title || "Untitled", track.subtitle].filter(Boolean).join(", ");
    const picture = pictureUrl(track.cover);
    this.cover.hidden = !picture;
    if (picture) this.cover.src = picture;
    this.wave.setPeaks(track.peaks);
    this.wave.setLabel(`Position in ${track.title || "this track"}`);
    this.show();
    this.audio.src = track.url;
    if ("mediaSession" in navigator) {
      navigator.mediaSession.metadata = new MediaMetadata({
        title: track.title || "Untitled",
        artist: track.subtitle ?? "",
        artwork: picture ? [{ src: picture }] : [],
      });
    }
    this.announce();
  }

  /** The queue a track brings, else the one that holds it, else the track alone. */
  arrange(track, queue) {
    const holds = (list) => list.some((other) => other.track_id === track.track_id);
    const list = [queue ?? [], this.queue, this.pageQueue].find(holds) ?? [track];
    const here = (other) => other.track_id === track.track_id;
    this.queue = list;
    if (!(list[this.place] && here(list[this.place]))) this.place = list.findIndex(here);
  }

  play() {
    const { track } = this;
    this.audio.play()?.catch((error) => {
      if (track !== this.track) return;
      if (error.name === "NotAllowedError") this.say("Press play to listen.");
      // AbortError: another track took over. NotSupportedError: the error event explains it.
    });
  }

  toggle() {
    if (!this.track) return;
    if (this.failed) this.start(this.track);
    else if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  move(by) {
    const place = this.place + by;
    const track = this.queue[place];
    if (!track) return false;
    this.place = place;
    this.load(track, this.queue);
    this.play();
    return true;
  }

  next() {
    return this.move(1);
  }

  /** As on every player: the first press goes to the start, a second one to the track before. */
  previous() {
    if (this.audio.currentTime > 3 || !this.move(-1)) this.seek(0);
  }

  seek(fraction) {
    if (this.audio.readyState >= HTMLMediaElement.HAVE_METADATA) {
      this.audio.currentTime = clamp(fraction, 0, 1) * this.duration;
    } else {
      this.pending = clamp(fraction, 0, 1);
    }
    this.announce();
  }

  step(seconds) {
    if (this.duration) this.seek((this.audio.currentTime + seconds) / this.duration);
  }

  // --- sound level --------------------------------------------------------------------------

  rememberedVolume() {
    try {
      const volume = Number.parseFloat(localStorage.getItem("kindred.volume"));
      return volume >= 0 && volume <= 1 ? volume : 1;
    } catch {
      return 1; // storage is closed in some private windows
    }
  }

  setVolume(volume) {
    this.audio.volume = volume;
    this.audio.muted = volume === 0;
    this.drawVolume();
    try {
      localStorage.setItem("kindred.volume", String(volume));
    } catch {
      // the level then lasts as long as the page
    }
  }

  mute() {
    if (this.audio.volume === 0) this.setVolume(1);
    else this.audio.muted = !this.audio.muted;
    this.drawVolume();
  }

  drawVolume() {
    const heard = this.audio.muted ? 0 : this.audio.volume;
    this.volume.value = String(heard);
    this.volume.style.setProperty("--level", `${heard * 100}%`);
    this.volume.setAttribute("aria-valuetext", `${Math.round(heard * 100)} %`);
    setIcon(this.muteButton, heard ? "loud" : "mute");
    this.label(this.muteButton, heard ? "Mute" : "Unmute");
  }

  // --- saying and showing -------------------------------------------------------------------

  label(button, text) {
    button.setAttribute("aria-label", text);
    button.title = text;
  }

  say(text) {
    if (this.message.textContent !== text) this.message.textContent = text;
    this.bar.toggleAttribute("data-message", Boolean(text));
  }

  /** A media error does not tell a missing file from a broken one, so the address is asked. */
  async explain() {
    const { track } = this;
    if (!track) return;
    this.failed = true;
    this.bar.removeAttribute("aria-busy");
    this.announce();
    const stop = new AbortController();
    let text = "This file cannot be played here: it is damaged or its format is unknown.";
    try {
      if (!track.url) throw new URIError(); // an empty address would ask for the page itself
      const answer = await fetch(track.url, { headers: { Range: "bytes=0-0" }, signal: stop.signal });
      if (answer.status === 404 || answer.status === 410) text = "This file can no longer be found.";
      else if (answer.status === 401 || answer.status === 403) text = "You may not listen to this file.";
      else if (!answer.ok) text = `The audio could not be sent (error ${answer.status}).`;
      stop.abort();
    } catch {
      text = track.url ? "Kindred does not answer. Is it still running?" : "This file can no longer be found.";
    }
    if (track === this.track && this.failed) this.say(text);
  }

  show() {
    this.host.hidden = false;
    document.documentElement.toggleAttribute("data-kindred-bar", true);
  }

  announce() {
    const { track, playing } = this;
    const duration = track ? this.duration : Number.NaN;
    const position = track ? (this.pending === null ? this.audio.currentTime : this.pending * duration || 0) : 0;
    this.drawPosition(position, duration);
    setIcon(this.playButton, playing ? "pause" : "play");
    this.label(this.playButton, playing ? "Pause" : "Play");
    this.bar.toggleAttribute("data-playing", playing);
    this.nextButton.setAttribute("aria-disabled", String(this.place + 1 >= this.queue.length));
    this.namespace.state = Object.freeze({
      track_id: track?.track_id ?? null, playing, position, duration: Number.isFinite(duration) ? duration : 0,
    });
    window.dispatchEvent(new CustomEvent("kindred:state", { detail: this.namespace.state }));
    if (track && "mediaSession" in navigator) {
      navigator.mediaSession.playbackState = playing ? "playing" : "paused";
      if (Number.isFinite(duration)) {
        navigator.mediaSession.setPositionState?.({ duration, position: clamp(position, 0, duration) });
      }
    }
  }

  drawPosition(position, duration) {
    this.wave.setProgress(position, duration);
    if (!this.wave.dragging) this.elapsed.textContent = clock(position);
    this.total.textContent = clock(duration);
  }

  /** Between two time updates (four a second) the waveform would move in jerks. */
  animate() {
    if (this.calm.matches || this.frame) return;
    const step = () => {
      this.frame = this.playing ? requestAnimationFrame(step) : 0;
      if (this.pending === null) this.wave.setProgress(this.audio.currentTime, this.duration);
    };
    this.frame = requestAnimationFrame(step);
  }

  // --- keys ---------------------------------------------------------------------------------

  onSpace(event) {
    if (event.key !== " " || event.repeat || event.defaultPrevented || !this.track) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    // Through shadow roots the target is the outermost host; the path has the element itself.
    const owner = event.composedPath().find((node) => node instanceof Element && node.matches(OWNS_SPACE));
    if (owner) return;
    event.preventDefault();
    this.toggle();
  }

  mediaSession() {
    if (!("mediaSession" in navigator)) return;
    const handlers = {
      play: () => this.play(),
      pause: () => this.audio.pause(),
      previoustrack: () => this.previous(),
      nexttrack: () => this.next(),
      seekbackward: ({ seekOffset }) => this.step(-(seekOffset || 5)),
      seekforward: ({ seekOffset }) => this.step(seekOffset || 5),
      seekto: ({ seekTime }) => this.seek(seekTime / this.duration),
    };
    for (const [name, handler] of Object.entries(handlers)) {
      try {
        navigator.mediaSession.setActionHandler(name, handler);
      } catch {
        // a browser that does not know this action goes without it
      }
    }
  }
}

export default function ({ data, parentElement }) {
  const namespace = (window.kindred ??= {});
  namespace.player ??= new Player(namespace);
  namespace.player.adopt(parentElement);
  namespace.player.receive(data ?? {});
}
