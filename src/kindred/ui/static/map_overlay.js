// What lies over the points: names of regions, lines to neighbours, a path, rings, the lasso.
// Everything is drawn on one 2-D canvas; `at(x, y)` turns units of the map into pixels.

const FADE = { from: 3, to: 7 }; // magnifications between which the names of regions vanish

class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  draw(scene) {
    const { context } = this;
    this.scene = scene;
    context.setTransform(scene.ratio, 0, 0, scene.ratio, 0, 0);
    context.clearRect(0, 0, scene.width, scene.height);
    context.lineJoin = context.lineCap = "round";
    this.regions();
    this.lines();
    this.path();
    for (const { place, kind } of scene.rings) this.ring(place, kind);
    this.lasso();
  }

  /** The largest regions first; a name that would touch one already written is left out. */
  regions() {
    const { context, scene } = this;
    const share = clamp((FADE.to - scene.zoom) / (FADE.to - FADE.from), 0, 1);
    if (!share || !scene.regions.length) return;
    const largest = scene.regions[0].size || 1;
    const taken = [];
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { place, label, size } of scene.regions) {
      const height = 12 + 6 * Math.sqrt(size / largest) * (scene.width < 500 ? 0.5 : 1);
      context.font = `600 ${height}px ${scene.theme.font}`;
      const text = this.fitted(label, Math.min(240, scene.width * 0.5));
      const width = context.measureText(text).width;
      let [x, y] = scene.at(...place);
      y -= scene.size / 2 + 10; // a lone point stays in sight
      if (x < 0 || y < 0 || x > scene.width || y > scene.height) continue;
      x = clamp(x, width / 2 + 6, scene.width - width / 2 - 6);
      y = clamp(y, height, scene.height - height);
      const box = [x - width / 2 - 8, y - height / 2 - 5, x + width / 2 + 8, y + height / 2 + 5];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      taken.push(box);
      context.globalAlpha = share;
      context.lineWidth = 5;
      context.strokeStyle = scene.theme.ground;
      context.strokeText(text, x, y);
      context.fillStyle = scene.theme.text;
      context.fillText(text, x, y);
    }
    context.globalAlpha = 1;
  }

  fitted(label, room) {
    let text = label;
    while (text.length > 3 && this.context.measureText(text).width > room) text = `${text.slice(0, -2).trimEnd()}…`;
    return text;
  }

  /** To the true neighbours, which a map in two dimensions may have put far away. */
  lines() {
    const { context, scene } = this;
    if (!scene.lines.length) return;
    const from = scene.at(...scene.linesFrom);
    const radius = scene.size / 2;
    scene.lines.forEach(([place, similarity], rank) => {
      const width = 1 + 2 * clamp(similarity, 0, 1) ** 3;
      const strength = 1 - 0.4 * (rank / scene.lines.length);
      const to = scene.at(...place);
      const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
      if (length < scene.size + 8) return;
      const along = (pixels) => [0, 1].map((side) => from[side] + ((to[side] - from[side]) * pixels) / length);
      this.segment(along(radius + 6), along(length - radius - 2), scene.theme.link, width, strength);
    });
    for (const [place] of scene.lines) this.ring(place, "neighbour");
  }

  /** A way through time: pale at its beginning, strong at its end, with its steps numbered. */
  path() {
    const { context, scene } = this;
    const stops = scene.path.map((place) => scene.at(...place));
    if (!stops.length) return;
    const last = stops.length - 1;
    const strength = (i) => 0.35 + 0.65 * (last ? i / last : 1);
    for (let i = 1; i <= last; i += 1) {
      this.segment(stops[i - 1], stops[i], scene.theme.text, 2.25, strength(i));
    }
    context.font = `600 10px ${scene.theme.font}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const dot = ([x, y], radius, alpha) => {
      context.globalAlpha = alpha;
      context.fillStyle = scene.theme.text;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    };
    stops.forEach((stop, i) => dot(stop, 3, strength(i)));
    const told = [];
    for (const i of new Set([0, last, ...stops.keys()])) {
      const [x, y] = stops[i];
      if (told.length > 1 && told.some((other) => Math.hypot(other[0] - x, other[1] - y) < 26)) continue;
      told.push(stops[i]);
      dot(stops[i], 8.5, 1);
      context.fillStyle = scene.theme.ground;
      context.fillText(String(i + 1), x, y + 0.5);
    }
    context.globalAlpha = 1;
  }

  /** A line that stands out from the points below it. */
  segment(from, to, colour, width, strength) {
    const { context, scene } = this;
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.globalAlpha = 0.75 * strength;
    context.strokeStyle = scene.theme.ground;
    context.lineWidth = width + 2.5;
    context.stroke();
    context.globalAlpha = strength;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
    context.globalAlpha = 1;
  }

  ring(place, kind) {
    const { context, scene } = this;
    const [x, y] = scene.at(...place);
    const radius = scene.size / 2 + { opened: 6, cursor: 4, hover: 3, neighbour: 2 }[kind];
    const circle = (r, colour, width) => {
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    };
    if (kind === "neighbour") return circle(radius, scene.theme.link, 1.5);
    circle(radius, scene.theme.ground, 5);
    circle(radius, kind === "opened" ? scene.theme.link : scene.theme.text, kind === "opened" ? 3 : 2);
  }

  lasso() {
    const { context, scene } = this;
    if (!scene.lasso || scene.lasso.length < 2) return;
    context.beginPath();
    scene.lasso.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.fillStyle = scene.theme.link;
    context.globalAlpha = 0.12;
    context.fill();
    context.globalAlpha = 1;
    context.setLineDash([5, 4]);
    context.strokeStyle = scene.theme.link;
    context.lineWidth = 1.5;
    context.stroke();
    context.setLineDash([]);
  }
}
