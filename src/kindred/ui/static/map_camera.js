// Which part of a map is seen: pixel = shift + zoom * fit * unit, where fit makes the whole map fill
// the stage. d3-zoom keeps {shift, zoom} and understands mice, wheels and fingers.

const ZOOMS = [0.5, 400];
const FLIGHT = 700; // milliseconds
const CLOSE = 8; // the magnification at which a track of a large map is visited
const AROUND = 36; // tracks that should be about it on a small one

class Camera {
  /** `yields(event)` says which gestures are not the camera's. */
  constructor(element, { yields, onMove }) {
    this.width = this.height = 0;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.behaviour = MapVendor.zoom()
      .scaleExtent(ZOOMS)
      .clickDistance(5)
      .extent(() => [[0, 0], [this.width, this.height]])
      .filter((event) => event.type === "wheel" || (!event.button && !yields(event)))
      .on("zoom", ({ transform }) => {
        this.transform = transform;
        onMove();
      });
    this.surface = MapVendor.select(element).call(this.behaviour).on("dblclick.zoom", null);
    this.transform = null;
  }

  /** Take the size of the stage; `reach` is half the sides of the map, `view` where to begin. */
  resize(width, height, reach, view) {
    const kept = view ?? this.view();
    Object.assign(this, { width, height });
    const [side, end] = width < 560 ? [20, 68] : [60, 24]; // the tools are above, or at the side
    this.fit = Math.max(10, Math.min((width / 2 - side) / reach[0], (height / 2 - end) / reach[1]));
    const roam = [width, height].map((length) => Math.max(length, this.fit));
    this.behaviour.translateExtent([[-roam[0], -roam[1]], roam]);
    this.go(kept, { atOnce: true });
  }

  get zoom() {
    return this.transform.k;
  }

  /** Pixels for one unit. */
  get scale() {
    return this.transform.k * this.fit;
  }

  toPixel(x, y) {
    return [this.transform.x + this.scale * x, this.transform.y + this.scale * y];
  }

  toUnit(px, py) {
    return [(px - this.transform.x) / this.scale, (py - this.transform.y) / this.scale];
  }

  /** What is in the middle, in units, and how large. */
  view() {
    const [x, y] = this.toUnit(this.width / 2, this.height / 2);
    return { x, y, zoom: this.zoom };
  }

  go({ x, y, zoom }, { atOnce = false } = {}) {
    const transform = MapVendor.zoomIdentity
      .translate(this.width / 2 - zoom * this.fit * x, this.height / 2 - zoom * this.fit * y).scale(zoom);
    if (atOnce || this.calm.matches) this.surface.interrupt().call(this.behaviour.transform, transform);
    else this.surface.transition().duration(FLIGHT).ease(MapVendor.easeCubicInOut).call(this.behaviour.transform, transform);
  }

  fitAll(options) {
    this.go({ x: 0, y: 0, zoom: 1 }, options);
  }

  zoomBy(factor) {
    const { x, y, zoom } = this.view();
    this.go({ x, y, zoom: clamp(zoom * factor, ...ZOOMS) });
  }

  /** Visit one of `count` tracks; what was magnified more stays so. */
  flyTo([x, y], count, options) {
    const close = clamp(Math.sqrt(count / AROUND), 1, CLOSE);
    this.go({ x, y, zoom: Math.max(close, this.zoom) }, options);
  }
}
