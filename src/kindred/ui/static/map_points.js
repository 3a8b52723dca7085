// Draws the points of a map, by WebGL 2 or, where a browser has none, on a plain 2-D canvas. Both
// classes take the same calls:
//
//   setPositions(Float32Array)  x0, y0, x1, y1, ... in units of the map (see map_view.js)
//   setShades(Uint8Array)       a place in the palette for each point
//   setMarks(Uint8Array, some)  1 for each selected point; `some` is false when there is none
//   setPalette(Uint8Array)      256 RGBA colours; one with alpha 0 hides its points
//   draw({ scale, x, y, size, width, height, ratio, ink })   pixel = x + scale * unit, CSS pixels;
//                                 ink is the RGB of the outline of what is selected

const DIMMED = 0.22; // opacity of what is not selected beside what is

const OPAQUE = 2; // more than any opacity of the palette
const EDGE = 3; // pixels by which the outline under the selected points is larger than they

const VERTEX = `#version 300 es
layout(location = 0) in vec2 place;
layout(location = 1) in uint shade;
layout(location = 2) in uint mark;
uniform vec2 scale, offset;   // unit -> clip space
uniform float size, opacity;  // of the points in this pass
uniform uint wanted;          // which marks this pass draws; 2: all
uniform vec4 ink;             // instead of the palette, where its alpha is not 0
uniform sampler2D palette;
flat out vec4 colour;
void main() {
  colour = texelFetch(palette, ivec2(int(shade), 0), 0);
  bool here = colour.a > 0.0 && (wanted == 2u || wanted == mark);
  colour.a = opacity > 1.0 ? 1.0 : colour.a * opacity;
  if (ink.a > 0.0) colour = ink;
  gl_PointSize = here ? size + 1.0 : 0.0;
  gl_Position = here ? vec4(place * scale + offset, 0.0, 1.0) : vec4(2.0, 2.0, 2.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
flat in vec4 colour;
uniform highp float size;
out vec4 drawn;
void main() {
  float away = length(gl_PointCoord - 0.5) * (size + 1.0);
  float alpha = colour.a * clamp(0.5 * size - away + 0.5, 0.0, 1.0);
  if (alpha < 0.004) discard;
  drawn = vec4(colour.rgb * alpha, alpha);
}`;

class WebGLPoints {
  static make(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, premultipliedAlpha: true });
    return gl ? new WebGLPoints(gl) : null;
  }

  constructor(gl) {
    this.gl = gl;
    this.count = 0;
    this.some = false;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.at = (name) => gl.getUniformLocation(program, name);
    this.buffers = [0, 1, 2].map(() => gl.createBuffer());
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  upload(location, array) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[location]);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    if (location === 0) gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    else gl.vertexAttribIPointer(location, 1, gl.UNSIGNED_BYTE, 0, 0);
  }

  setPositions(positions) {
    this.count = positions.length / 2;
    this.upload(0, positions);
  }

  setShades(shades) {
    this.upload(1, shades);
  }

  setMarks(marks, some) {
    this.some = some;
    this.upload(2, marks);
  }

  setPalette(rgba) {
    const { gl } = this;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
  }

  draw({ scale, x, y, size, width, height, ratio, ink }) {
    const { gl } = this;
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.count) return;
    gl.uniform2f(this.at("scale"), (2 * scale) / width, (-2 * scale) / height);
    gl.uniform2f(this.at("offset"), (2 * x) / width - 1, 1 - (2 * y) / height);
    const pass = (wanted, diameter, opacity, colour = [0, 0, 0, 0]) => {
      gl.uniform1ui(this.at("wanted"), wanted);
      gl.uniform1f(this.at("size"), diameter * ratio);
      gl.uniform1f(this.at("opacity"), opacity);
      gl.uniform4f(this.at("ink"), ...colour);
      gl.drawArrays(gl.POINTS, 0, this.count);
    };
    if (!this.some) return pass(2, size, 1);
    pass(0, size, DIMMED);
    // One outline around all that is selected, not one around each: a thousand would hide colours.
    pass(1, size + EDGE, 1, [...ink.map((value) => value / 255), 1]);
    pass(1, size, OPAQUE);
  }

  destroy() {
    // A window has few contexts to give; pages that come and go would use them up.
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

class FlatPoints {
  constructor(canvas) {
    this.context = canvas.getContext("2d");
    this.positions = new Float32Array();
    this.marks = new Uint8Array();
    this.order = [];
    this.some = false;
  }

  setPositions(positions) {
    this.positions = positions;
  }

  /** By colour, because changing the colour of the brush costs more than a point. */
  setShades(shades) {
    this.shades = shades;
    this.order = Uint32Array.from(shades.keys()).sort((a, b) => shades[a] - shades[b]);
  }

  setMarks(marks, some) {
    this.marks = marks;
    this.some = some;
  }

  setPalette(rgba) {
    this.palette = rgba;
  }

  draw(view) {
    const { context } = this;
    context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    if (!this.some) return this.pass(view, null, 1);
    this.pass(view, 0, DIMMED);
    this.pass({ ...view, size: view.size + EDGE }, 1, 1, view.ink);
    this.pass(view, 1, OPAQUE);
  }

  pass({ scale, x, y, size, width, height }, wanted, opacity, ink = null) {
    const { context, positions, shades, marks, palette } = this;
    const half = size / 2;
    const round = this.order.length <= 3000; // squares are several times as fast as discs
    let colour = -1;
    for (const i of this.order) {
      const shade = shades[i];
      if (palette[4 * shade + 3] === 0 || (wanted !== null && marks[i] !== wanted)) continue;
      const px = x + scale * positions[2 * i];
      const py = y + scale * positions[2 * i + 1];
      if (px < -half || py < -half || px > width + half || py > height + half) continue;
      if (shade !== colour) {
        colour = shade;
        const [r, g, b, a] = ink ? [...ink, 255] : palette.subarray(4 * shade, 4 * shade + 4);
        context.fillStyle = `rgba(${r}, ${g}, ${b}, ${Math.min(1, (a / 255) * opacity)})`;
      }
      if (round) {
        context.beginPath();
        context.arc(px, py, half, 0, 2 * Math.PI);
        context.fill();
      } else {
        context.fillRect(px - half, py - half, size, size);
      }
    }
  }

  destroy() {}
}
