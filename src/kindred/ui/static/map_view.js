// A map of tracks: points that are panned, zoomed, hovered, clicked, and selected by a lasso.
//
// Three systems of coordinates: world (as Python has them), unit (see Points in map_data.js) and
// pixels of the stage (see Camera).
//
// Says on window:  kindred:play, kindred:toggle (see player.js), kindred:map-hover {track_id, by}
// Hears on window: kindred:map-hover, so that two maps of the same tracks point at the same one
// Tells its owner: {action: "opened", track_id} | {action: "selected", points, mask} | {action: "cleared"}

let tellings = 0;

class MapView {
  /**
   * root is an empty element; store has the contents (MapStore); tell(event) speaks to the owner.
   */
  constructor(root, { store, tell }) {
    Object.assign(this, { root, store, tell });
    this.state = { lines: [], path: [], regions: [] };
    this.said = {}; // what the owner said last: only a change of it is followed
    this.points = this.colours = null;
    this.opened = this.cursor = this.pointed = this.linked = null;
    this.selected = 0;
    this.tool = null;
    this.lasso = null;
    this.build();
    this.listen();
  }

  // --- what it is made of ---------------------------------------------------------------------

  build() {
    this.tip = new HoverCard();
    this.legend = new Legend(() => this.recolour());
    const actions = {
      zoomIn: () => this.camera.zoomBy(2),
      zoomOut: () => this.camera.zoomBy(0.5),
      fit: () => this.camera.fitAll(),
      lasso: () => this.setTool("lasso"),
      box: () => this.setTool("box"),
      clear: () => this.clear(),
    };
    this.frame = new MapFrame(this.root, { actions, tip: this.tip.element, legend: this.legend.element });
    this.canvas = this.frame.surface;
    this.overlay = new Overlay(this.canvas);
    this.makeDrawing();
  }

  /** WebGL where there is any; what else is done is said. */
  makeDrawing() {
    this.drawing = WebGLPoints.make(this.frame.points);
    this.flat = !this.drawing;
    this.drawing ??= new FlatPoints(this.frame.points);
    this.root.dataset.engine = this.flat ? "canvas" : "webgl2";
  }

  listen() {
    this.camera = new Camera(this.canvas, {
      yields: (event) => this.drawsLasso(event),
      onMove: () => {
        this.tip.hide();
        this.invalidate();
      },
    });
    const { canvas } = this;
    const on = (name, handler) => canvas.addEventListener(name, handler);
    on("pointerdown", (event) => this.pointerDown(event));
    on("pointermove", (event) => this.pointerMove(event));
    on("pointerup", (event) => this.pointerUp(event));
    on("pointercancel", () => this.endLasso(false));
    on("pointerleave", () => this.hover(null));
    on("click", (event) => this.click(event));
    on("keydown", (event) => this.key(event));
    on("blur", () => this.setCursor(null));
    this.frame.stage.addEventListener("keydown", (event) => event.key === "Escape" && this.escape());
    this.frame.points.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.frame.points.addEventListener("webglcontextrestored", () => {
      this.makeDrawing();
      if (this.points) this.fill();
    });
    this.hear = ({ detail }) => {
      if (detail.by === this) return;
      this.linked = detail.track_id === null ? null : this.points?.find(detail.track_id) ?? null;
      this.invalidate();
    };
    window.addEventListener("kindred:map-hover", this.hear);
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(this.frame.stage);
  }

  // --- what the owner says --------------------------------------------------------------------

  /** Show a state; it names its contents, which may still be on their way. */
  async update(state) {
    this.latest = state;
    this.readTheme();
    try {
      const [points, colours] = await Promise.all([this.store.get(state.points), this.store.get(state.colouring)]);
      if (state === this.latest && !this.ended) this.receive(state, points, colours);
    } catch (error) {
      this.frame.say("The map could not be read. Reload the page; if it stays, update your browser.");
      throw error;
    }
  }

  receive(state, points, colours) {
    this.state = state;
    this.frame.describe({ label: state.label, count: points.count, height: state.height });
    const news = (name) => {
      const before = this.said[name];
      this.said[name] = JSON.stringify(state[name]);
      return before !== this.said[name];
    };
    const first = points !== this.points;
    if (first || colours !== this.colours) {
      if (first) this.takePoints(points);
      this.colours = colours;
      this.legend.show(colours, this.theme.dark);
      this.fill();
    }
    if (news("selected") || first) this.mark(state.selected ? fromMask(state.selected, points.count) : null);
    if (news("opened") || first) this.opened = state.opened;
    const unit = ([x, y]) => points.toUnit(x, y);
    this.regions = state.regions.map(([x, y, label, size]) => ({ place: unit([x, y]), label, size }))
      .sort((a, b) => b.size - a.size);
    this.path = state.path.map(unit);
    const focus = news("focus") ? state.focus : null;
    if (focus) this.flyTo(focus[0], { atOnce: first });
    if (!points.count) this.frame.say("There is no track to show yet.");
    else this.frame.say(this.flat ? "This browser has no WebGL 2: the map is drawn without it, and moves less smoothly." : "");
    this.invalidate();
  }

  flyTo(i, options) {
    if (this.camera.transform) this.camera.flyTo(this.points.place(i), this.points.count, options);
  }

  takePoints(points) {
    this.points = points;
    this.marks = new Uint8Array(points.count);
    this.cursor = this.pointed = this.linked = null;
    this.tip.hide();
    this.resize({ anew: true });
  }

  /** Give everything to the drawing; after a change of points or of colouring, not at each state. */
  fill() {
    this.drawing.setPositions(this.points.places);
    this.drawing.setShades(this.colours.shades);
    this.drawing.setMarks(this.marks, this.selected > 0);
    this.recolour();
  }

  recolour() {
    if (!this.colours) return;
    const { count } = this.points;
    const opacity = count > 20_000 ? 0.78 : count > 2_000 ? 0.85 : 0.95;
    this.drawing.setPalette(this.colours.palette({ dark: this.theme.dark, opacity, hidden: this.legend.hidden }));
    this.invalidate();
  }

  readTheme() {
    const before = JSON.stringify(this.theme);
    this.theme = this.frame.theme();
    if (JSON.stringify(this.theme) === before) return;
    this.legend.dye(this.theme.dark);
    this.recolour();
  }

  // --- drawing --------------------------------------------------------------------------------

  /** Fill the stage; a page that is left and opened again shows the same part of the same map. */
  resize({ anew = false } = {}) {
    const { clientWidth: width, clientHeight: height } = this.frame.stage;
    if (!width || !height || !this.points) return;
    if (!anew && width === this.camera.width && height === this.camera.height) return;
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.frame.points, this.canvas]) {
      canvas.width = width * this.ratio;
      canvas.height = height * this.ratio;
    }
    const start = MapView.views.get(this.viewName) ?? { x: 0, y: 0, zoom: 1 };
    this.camera.resize(width, height, this.points.reach, anew || !this.camera.width ? start : null);
    this.invalidate();
  }

  get viewName() {
    return `${this.state.name} ${this.state.points}`;
  }

  /** Small when many, larger when near. */
  get size() {
    const { width, height } = this.camera;
    const room = clamp(Math.sqrt(Math.min(width, height) / 560), 0.7, 1);
    const base = room * Math.min(2.2 + 80 / Math.sqrt(Math.max(1, this.points.count)), 12);
    return clamp(base * this.camera.zoom ** 0.42, 1.8, Math.max(base, 13));
  }

  invalidate() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (this.camera.transform && !this.ended) this.draw();
    });
  }

  draw() {
    const { ratio, theme, size, points, camera } = this;
    const { width, height } = camera;
    const [x, y] = camera.toPixel(0, 0);
    this.drawing.draw({ scale: camera.scale, x, y, size, width, height, ratio, ink: theme.ink });
    const rings = [];
    const ringed = (i, kind) => i !== null && this.isShown(i) && rings.push({ place: points.place(i), kind });
    ringed(this.opened, "opened");
    ringed(this.linked, "hover");
    ringed(this.cursor, "cursor");
    ringed(this.pointed, "hover");
    const opened = this.opened !== null && this.opened === this.state.opened;
    this.overlay.draw({
      width, height, ratio, theme, size, rings, zoom: camera.zoom, lasso: this.lasso?.line,
      at: (...place) => camera.toPixel(...place), regions: this.regions, path: this.path,
      linesFrom: opened ? points.place(this.opened) : null,
      lines: opened ? this.state.lines.map(([i, similarity]) => [points.place(i), similarity]) : [],
    });
    // For whoever wants to know that there is a picture, such as tests and benchmarks.
    if (this.root.dataset.drawn !== this.state.points) this.root.dataset.drawn = this.state.points;
  }

  // --- the pointer ----------------------------------------------------------------------------

  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  isShown(i) {
    return !this.legend.hidden.has(this.colours.shades[i]);
  }

  /** The nearest shown point within some pixels; null when there is none. */
  near(pixel, reach) {
    const { camera, points } = this;
    return points.nearest(camera.toUnit(...pixel), reach / camera.scale, (i) => this.isShown(i));
  }

  pointerDown(event) {
    this.touched = event.pointerType === "touch"; // a click does not say so in every browser
    if (event.button || !this.points?.count || !this.drawsLasso(event)) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.lasso = new Lasso(this.pixel(event), { box: this.tool === "box" });
    this.hover(null);
    event.preventDefault();
  }

  pointerMove(event) {
    if (this.lasso) {
      this.lasso.to(this.pixel(event));
      this.invalidate();
    } else if (event.pointerType !== "touch" && !event.buttons && this.camera.transform) {
      this.hover(this.near(this.pixel(event), Math.max(8, this.size)));
    }
  }

  pointerUp() {
    if (this.lasso) this.endLasso(true);
  }

  /** Called as "click" even after a touch, and never after a drag: d3-zoom swallows that one. */
  click(event) {
    if (this.tool || event.shiftKey || !this.camera.transform) return;
    const i = this.near(this.pixel(event), this.touched ? 22 : Math.max(8, this.size));
    if (i === null) return this.hover(null);
    this.open(i);
    this.point(i);
  }

  hover(i) {
    if (i === this.pointed) return;
    this.point(i);
    const track_id = i === null ? null : this.points.ids[i];
    window.dispatchEvent(new CustomEvent("kindred:map-hover", { detail: { track_id, by: this } }));
  }

  point(i) {
    this.pointed = i;
    this.canvas.classList.toggle("over", i !== null);
    if (i === null) this.tip.hide();
    else this.showTip(i);
    this.invalidate();
  }

  showTip(i) {
    const [x, y] = this.camera.toPixel(...this.points.place(i));
    const { width, height } = this.camera;
    const [subtitle, value] = [this.points.subtitles[i], this.colours.text(i)];
    this.tip.show({
      title: this.points.titles[i], subtitle, value: value === subtitle ? "" : value,
      colour: this.colours.css(i, this.theme.dark), cover: this.cover(i), x, y, width, height,
    });
  }

  cover(i) {
    return this.state.served ? `/thumbnail/${encodeURIComponent(this.points.ids[i])}` : null;
  }

  /** Play within the gesture itself, then tell: phones allow sound only from a gesture. */
  open(i) {
    const track_id = this.points.ids[i];
    const title = this.points.titles[i];
    const again = this.opened === i;
    this.opened = i;
    this.invalidate();
    if (this.state.served) {
      const isLoaded = window.kindred?.state?.track_id === track_id;
      if (isLoaded && again) return window.dispatchEvent(new CustomEvent("kindred:toggle", { detail: {} }));
      const cover = this.tip.covers.get(this.cover(i)) ? this.cover(i) : initialsPicture(title, this.colours.css(i, this.theme.dark));
      const detail = { track_id, title, subtitle: this.points.subtitles[i], url: `/audio/${encodeURIComponent(track_id)}`, cover, peaks: "" };
      if (!isLoaded) window.dispatchEvent(new CustomEvent("kindred:play", { detail }));
    }
    this.told({ action: "opened", track_id });
  }

  told(event) {
    // Equal values are one value to Streamlit; the nonce makes two clicks two events.
    tellings += 1;
    this.tell({ ...event, points: this.state.points, nonce: `${Date.now()}-${tellings}` });
  }

  // --- selecting ------------------------------------------------------------------------------

  drawsLasso(event) {
    return Boolean(this.lasso) || event.shiftKey || (this.tool && !(event.touches?.length > 1));
  }

  setTool(name) {
    this.tool = this.tool === name ? null : name;
    this.frame.showTool(this.tool);
  }

  endLasso(finished) {
    const { lasso } = this;
    this.lasso = null;
    this.invalidate();
    if (!finished || !lasso || lasso.isSmall) return;
    this.setTool(null);
    const marks = lasso.marks(this.points, this.camera, (i) => this.isShown(i));
    this.mark(marks);
    this.told(this.selected ? { action: "selected", mask: toMask(marks) } : { action: "cleared" });
  }

  clear() {
    if (!this.selected) return;
    this.mark(null);
    this.told({ action: "cleared" });
  }

  mark(marks) {
    this.marks = marks ?? new Uint8Array(this.points.count);
    this.selected = this.marks.reduce((sum, mark) => sum + mark, 0);
    this.drawing.setMarks(this.marks, this.selected > 0);
    this.frame.showSelection(this.selected);
    this.invalidate();
  }

  // --- keys -----------------------------------------------------------------------------------

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.camera.transform || !this.points.count) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in steps) this.walk(steps[event.key]);
    else if (event.key === "Enter" && this.cursor !== null) this.open(this.cursor);
    else if (event.key === "+" || event.key === "=") this.camera.zoomBy(2);
    else if (event.key === "-") this.camera.zoomBy(0.5);
    else if (event.key === "0" || event.key === "Home") this.camera.fitAll();
    else return;
    event.preventDefault();
  }

  /** Leave what one is in, one thing at a time. */
  escape() {
    if (this.lasso) this.endLasso(false);
    else if (this.tool) this.setTool(null);
    else this.clear();
  }

  /** The first key shows where one stands, each further one goes to a neighbour. */
  walk(direction) {
    const { width, height, scale } = this.camera;
    if (this.cursor !== null) {
      const next = this.points.towards(this.cursor, direction, 24 / scale, (i) => this.isShown(i));
      if (next !== null) this.setCursor(next);
    } else {
      this.setCursor(this.opened ?? this.near([width / 2, height / 2], width + height));
    }
  }

  setCursor(i) {
    if (i === this.cursor) return;
    this.cursor = i;
    this.invalidate();
    if (i === null) return this.tip.hide();
    const place = this.points.place(i);
    const [x, y] = this.camera.toPixel(...place);
    const { width, height, zoom } = this.camera;
    if (x < 20 || y < 20 || x > width - 20 || y > height - 20) {
      this.camera.go({ x: place[0], y: place[1], zoom }, { atOnce: true });
    }
    this.showTip(i);
    const words = [this.points.titles[i] || "Untitled", this.points.subtitles[i], this.colours.text(i)];
    this.frame.live.textContent = [...new Set(words)].filter(Boolean).join(", ");
  }

  destroy() {
    if (this.camera.transform) MapView.views.set(this.viewName, this.camera.view());
    this.ended = true;
    this.resized.disconnect();
    window.removeEventListener("kindred:map-hover", this.hear);
    this.hover(null);
    this.drawing.destroy();
  }
}

MapView.views = new Map();
