// A line that is drawn around points, freehand or as a box, in pixels of the stage.

class Lasso {
  constructor(start, { box }) {
    this.box = box;
    this.line = [start];
  }

  to([x, y]) {
    const [[left, top]] = this.line;
    this.line = this.box ? [[left, top], [x, top], [x, y], [left, y]] : [...this.line, [x, y]];
  }

  get bounds() {
    const xs = this.line.map(([x]) => x);
    const ys = this.line.map(([, y]) => y);
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  }

  /** Whether this was a click and no drag. */
  get isSmall() {
    const [left, top, right, bottom] = this.bounds;
    return right - left < 4 && bottom - top < 4;
  }

  /** Mark the points inside that `isShown` lets through: Uint8Array of 0 and 1. */
  marks(points, camera, isShown) {
    const [left, top, right, bottom] = this.bounds;
    const polygon = this.line.map((one) => camera.toUnit(...one));
    const marks = new Uint8Array(points.count);
    for (const i of points.index.range(...camera.toUnit(left, top), ...camera.toUnit(right, bottom))) {
      if (i < points.count && isShown(i) && inside(polygon, points.place(i))) marks[i] = 1;
    }
    return marks;
  }
}

/** Whether a point lies in a polygon: an odd number of its sides are crossed on the way out. */
function inside(polygon, [x, y]) {
  let odd = false;
  polygon.forEach(([ax, ay], i) => {
    const [bx, by] = polygon[(i || polygon.length) - 1];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  });
  return odd;
}
