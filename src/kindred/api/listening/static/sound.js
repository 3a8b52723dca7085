// One sound at a time, counted by the audio clock: what was not played does not count as heard.

let context = null;

/** The output. It may only begin in answer to a press, so nothing calls this before one. */
function output() {
  if (!context) {
    // An iPhone's silent switch would mute it otherwise.
    if (navigator.audioSession) navigator.audioSession.type = "playback";
    context = new AudioContext();
  }
  return context;
}

/** Have the output run; false where the device does not let it. */
async function wake() {
  const target = output();
  if (target.state !== "running") {
    await Promise.race([target.resume().catch(() => {}), new Promise((done) => setTimeout(done, 1500))]);
  }
  return target.state === "running";
}

export class Clip {
  constructor(slot, url) {
    Object.assign(this, { slot, url, loading: null, buffer: null, failed: false });
    Object.assign(this, { position: 0, plays: 0, seconds: 0, whole: false });
  }

  get name() {
    return this.slot === "reference" ? "Reference" : this.slot.toUpperCase();
  }

  get duration() {
    return this.buffer ? this.buffer.duration : 0;
  }

  /** Take what the server sent; raises what decoding raises. */
  async decode(bytes) {
    // An offline context decodes before anything was pressed.
    this.buffer = await new OfflineAudioContext(2, 1, 48000).decodeAudioData(bytes);
  }

  heard() {
    return { plays: this.plays, seconds: Math.round(this.seconds * 1000) / 1000, whole: this.whole };
  }
}

const FADE = 0.012;

export class Player {
  /** ``onchange()`` when something starts, stops or moves; ``onend(clip)`` at a clip's own end. */
  constructor({ onchange, onend, onblocked }) {
    Object.assign(this, { onchange, onend, onblocked, run: null, wanted: null, current: null });
  }

  get playing() {
    return this.run ? this.run.clip : null;
  }

  position(clip) {
    if (this.playing !== clip) return clip.position;
    return Math.min(clip.duration, this.run.from + context.currentTime - this.run.began);
  }

  toggle(clip) {
    if (this.playing === clip || this.wanted === clip) this.stop();
    else this.play(clip);
  }

  /** Play from where it was paused; a clip that was left for another starts over. */
  async play(clip) {
    this.stop();
    if (this.current && this.current !== clip) this.current.position = 0;
    this.current = clip;
    this.onchange();
    this.wanted = clip;
    const awake = await wake();
    await clip.loading;
    if (this.wanted !== clip) return; // something else was pressed meanwhile
    this.wanted = null;
    if (!clip.buffer) return;
    if (!awake) {
      this.onblocked();
      return;
    }
    if (clip.position === 0) clip.plays += 1;
    const source = new AudioBufferSourceNode(context, { buffer: clip.buffer });
    const gain = new GainNode(context, { gain: clip.position ? 0 : 1 });
    if (clip.position) gain.gain.linearRampToValueAtTime(1, context.currentTime + FADE);
    source.connect(gain).connect(context.destination);
    const run = { clip, source, gain, from: clip.position, began: context.currentTime };
    this.run = run;
    source.onended = () => this.run === run && this.finish();
    context.onstatechange = () => this.run && context.state !== "running" && this.stop();
    source.start(0, clip.position);
    this.onchange();
    this.follow(run);
  }

  follow(run) {
    requestAnimationFrame(() => {
      if (this.run !== run) return;
      this.onchange();
      this.follow(run);
    });
  }

  finish() {
    const { clip, from } = this.run;
    clip.seconds += clip.duration - from;
    clip.whole = true; // there is no way to skip ahead: what ended was played from the start
    clip.position = 0;
    this.run = null;
    this.onchange();
    this.onend(clip);
  }

  stop() {
    this.wanted = null;
    if (!this.run) return;
    const { clip, source, gain, from } = this.run;
    const position = this.position(clip);
    clip.seconds += position - from;
    clip.position = position;
    this.run = null;
    gain.gain.setValueAtTime(1, context.currentTime);
    gain.gain.linearRampToValueAtTime(0, context.currentTime + FADE);
    source.stop(context.currentTime + FADE);
    this.onchange();
  }
}

/** A tone on one side, ``"left"`` or ``"right"``; resolves at its end. */
export async function tone(side) {
  if (!(await wake())) return false;
  const seconds = 0.7;
  const now = context.currentTime;
  const source = new OscillatorNode(context, { frequency: 440 });
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(0, now);
  gain.gain.linearRampToValueAtTime(0.15, now + 0.05);
  gain.gain.setValueAtTime(0.15, now + seconds - 0.1);
  gain.gain.linearRampToValueAtTime(0, now + seconds);
  const merger = new ChannelMergerNode(context, { numberOfInputs: 2 });
  source.connect(gain).connect(merger, 0, side === "left" ? 0 : 1);
  merger.connect(context.destination);
  source.start(now);
  source.stop(now + seconds);
  await new Promise((done) => { source.onended = done; });
  return true;
}

/** Pink noise about as loud as the clips will be (-23 dB); returns how to stop it, or null. */
export async function noise() {
  if (!(await wake())) return null;
  const samples = new Float32Array(context.sampleRate * 4);
  // Kellet's economy filter: white noise to pink within 0.5 dB.
  let [a, b, c] = [0, 0, 0];
  for (let i = 0; i < samples.length; i += 1) {
    const white = Math.random() * 2 - 1;
    a = 0.99765 * a + white * 0.099046;
    b = 0.963 * b + white * 0.2965164;
    c = 0.57 * c + white * 1.0526913;
    samples[i] = a + b + c + white * 0.1848;
  }
  const power = samples.reduce((sum, value) => sum + value * value, 0) / samples.length;
  const scale = 10 ** (-23 / 20) / Math.sqrt(power);
  const buffer = new AudioBuffer({ length: samples.length, sampleRate: context.sampleRate });
  buffer.copyToChannel(samples.map((value) => value * scale), 0);
  const source = new AudioBufferSourceNode(context, { buffer, loop: true });
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(0, context.currentTime);
  gain.gain.linearRampToValueAtTime(1, context.currentTime + 0.5);
  source.connect(gain).connect(context.destination);
  source.start();
  return () => {
    gain.gain.setTargetAtTime(0, context.currentTime, 0.03);
    source.stop(context.currentTime + 0.2);
  };
}
