// What is heavy on a map, its points and its colours, arrives apart from what changes with every
// click. Python packs each as 16 letters that name the content, then gzipped JSON; here it is
// unpacked once and kept under that name for the maps of the page.

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

const floats = (text) => new Float32Array(fromBase64(text).buffer);
const integers = (text) => new Int32Array(fromBase64(text).buffer);

/** One bit for each point, the first in the highest bit, as numpy.packbits has it. */
function toMask(marks) {
  const bytes = new Uint8Array(Math.ceil(marks.length / 8));
  marks.forEach((mark, i) => {
    if (mark) bytes[i >> 3] |= 128 >> (i & 7);
  });
  return toBase64(bytes);
}

function fromMask(text, count) {
  const bytes = fromBase64(text);
  return Uint8Array.from({ length: count }, (_, i) => (bytes[i >> 3] >> (7 - (i & 7))) & 1);
}

async function unpack(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const content = await new Response(stream).json();
  return content.positions === undefined ? new Colours(content) : new Points(content);
}

/**
 * The points, moved and scaled so that the longer side of the map is -1..1 and y points down:
 * numbers near zero keep their precision when one zooms in.
 */
class Points {
  constructor({ ids, titles, subtitles, positions }) {
    Object.assign(this, { ids, titles, subtitles, count: ids.length });
    const world = floats(positions);
    const low = [Infinity, Infinity];
    const high = [-Infinity, -Infinity];
    for (let i = 0; i < world.length; i += 1) {
      low[i & 1] = Math.min(low[i & 1], world[i]);
      high[i & 1] = Math.max(high[i & 1], world[i]);
    }
    this.centre = this.count ? [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2] : [0, 0];
    const sides = this.count ? [(high[0] - low[0]) / 2, (high[1] - low[1]) / 2] : [0, 0];
    this.unit = Math.max(...sides) || 1;
    this.reach = sides.map((side) => Math.max(side / this.unit, 0.05));
    this.places = new Float32Array(world.length);
    for (let i = 0; i < world.length; i += 2) {
      [this.places[i], this.places[i + 1]] = this.toUnit(world[i], world[i + 1]);
    }
    this.index = new MapVendor.KDBush(Math.max(1, this.count), 16, Float32Array);
    if (!this.count) this.index.add(Infinity, Infinity);
    for (let i = 0; i < this.count; i += 1) this.index.add(this.places[2 * i], this.places[2 * i + 1]);
    this.index.finish();
  }

  toUnit(x, y) {
    return [(x - this.centre[0]) / this.unit, (this.centre[1] - y) / this.unit];
  }

  place(i) {
    return [this.places[2 * i], this.places[2 * i + 1]];
  }

  /** The nearest point that `isShown` lets through; null when none is within reach. */
  nearest([x, y], reach, isShown) {
    const away = (i) => Math.hypot(this.places[2 * i] - x, this.places[2 * i + 1] - y);
    let best = null;
    for (const i of this.index.within(x, y, reach)) {
      if (i < this.count && isShown(i) && (best === null || away(i) < away(best))) best = i;
    }
    return best;
  }

  /** The nearest point within 45 degrees of a direction, seen from another; null at the rim. */
  towards(from, [dx, dy], step, isShown) {
    const [x, y] = this.place(from);
    let best = null;
    let least = Infinity;
    for (let reach = step; best === null && reach < 8; reach *= 2) {
      for (const i of this.index.within(x, y, reach)) {
        const [ax, ay] = [this.places[2 * i] - x, this.places[2 * i + 1] - y];
        const ahead = ax * dx + ay * dy;
        const aside = Math.abs(ax * dy - ay * dx);
        const cost = ahead + 2 * aside;
        if (ahead > 0 && aside <= ahead && cost < least && isShown(i)) [best, least] = [i, cost];
      }
    }
    return best;
  }

  /** Where a track is, by its id; null when it is not on this map. */
  find(id) {
    this.byId ??= new Map(this.ids.map((one, i) => [one, i]));
    return this.byId.get(id) ?? null;
  }
}

class MapStore {
  constructor() {
    this.slots = new Map();
  }

  slot(name) {
    if (!this.slots.has(name)) {
      const slot = { users: 0, filled: false };
      slot.content = new Promise((resolve, reject) => Object.assign(slot, { resolve, reject }));
      this.slots.set(name, slot);
    }
    return this.slots.get(name);
  }

  put(bytes) {
    const name = new TextDecoder().decode(bytes.subarray(0, 16));
    const slot = this.slot(name);
    slot.users += 1;
    if (!slot.filled) {
      slot.filled = true;
      unpack(bytes.subarray(16)).then(slot.resolve, slot.reject);
    }
    return name;
  }

  /** Wait for content that another component brings, perhaps later than the map that shows it. */
  get(name) {
    return this.slot(name).content;
  }

  drop(name) {
    const slot = this.slot(name);
    slot.users -= 1;
    if (slot.users <= 0) this.slots.delete(name);
  }
}
