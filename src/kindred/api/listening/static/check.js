// The sound check: a comfortable volume, then on which side three tones are heard.

import { button, heading, keys, make, paragraph } from "./parts.js";
import { noise, tone } from "./sound.js";

const NEEDED_MS = 1000;
const GAP = 400;

export class SoundCheck {
  constructor(view, send) {
    Object.assign(this, { sides: view.sound_check.sides, send, heard: [], stopNoise: null });
    this.element = make("section", { class: "check" });
    this.showVolume();
  }

  showVolume() {
    this.press = this.pressVolume;
    this.playButton = button("Play the test sound", () => this.toggleNoise(), "", "Space");
    this.doneButton = button("It is comfortable", () => this.volumeSet(), "main", "Enter");
    this.doneButton.disabled = true;
    this.hint = make("p", { class: "hint", role: "status" }, "First the sound itself.");
    this.fill(
      heading("How loud?"),
      paragraph("Play the test sound, a steady rush, and set the volume of your device so that it is comfortable, as you would listen to music. Then leave the volume as it is till the end."),
      paragraph("Headphones are best, and a quiet room.", "muted"),
      make("div", { class: "wave", "aria-hidden": "true" }, ...Array.from({ length: 9 }, () => make("i"))),
      this.hint,
      make("div", { class: "actions" }, this.playButton, this.doneButton));
  }

  async toggleNoise() {
    if (this.stopNoise) {
      this.close();
      return;
    }
    this.stopNoise = await noise();
    if (!this.stopNoise) {
      this.hint.textContent = "Your device does not let the sound begin. Press once more.";
      return;
    }
    this.element.classList.add("sounding");
    this.playButton.firstChild.data = "Stop";
    this.hint.textContent = "Set the volume now.";
    this.waiting = setTimeout(() => { this.doneButton.disabled = false; }, NEEDED_MS);
  }

  close() {
    clearTimeout(this.waiting);
    this.element.classList.remove("sounding");
    if (!this.stopNoise) return;
    this.stopNoise();
    this.stopNoise = null;
    this.playButton.firstChild.data = "Play the test sound";
  }

  volumeSet() {
    if (this.doneButton.disabled) return;
    this.close();
    this.showSides();
  }

  /** The server did not find the sides right. */
  refused(message) {
    this.showSides(`${message} A phone or a small speaker often has one side only.`);
  }

  showSides(words = "Three short tones, each on one side.") {
    this.press = this.pressSides;
    this.heard = [];
    this.playing = false;
    this.played = false;
    this.playButton = button("Play the first tone", () => this.play(), "main", "Space");
    this.left = button("Left", () => this.answer("left"), "side", "←");
    this.right = button("Right", () => this.answer("right"), "side", "→");
    this.dots = this.sides.map(() => make("i"));
    this.hint = make("p", { class: "hint", role: "status" }, words);
    this.fill(
      heading("Left or right?"),
      paragraph("Say for each tone on which side you hear it."),
      make("div", { class: "dots", "aria-hidden": "true" }, ...this.dots),
      this.hint,
      make("div", { class: "sides" }, this.left, this.right),
      make("div", { class: "actions" }, this.playButton, button("The volume again", () => this.showVolume(), "quiet")),
      keys([["Space", "hear it again"], ["← →", "the side"]]));
    this.draw();
  }

  draw() {
    this.left.disabled = this.right.disabled = !this.played;
    this.dots.forEach((dot, place) => dot.classList.toggle("done", place < this.heard.length));
  }

  async play() {
    if (this.playing || this.heard.length === this.sides.length) return;
    this.playing = true;
    const sounded = await tone(this.sides[this.heard.length]);
    this.playing = false;
    if (!sounded) {
      this.hint.textContent = "Your device does not let the sound begin. Press once more.";
      return;
    }
    this.played = true;
    this.playButton.firstChild.data = "Hear it again";
    this.hint.textContent = `Tone ${this.heard.length + 1} of ${this.sides.length}: which side?`;
    this.draw();
  }

  async answer(side) {
    if (!this.played || this.playing) return;
    this.heard.push(side);
    this.played = false;
    this.draw();
    if (this.heard.length < this.sides.length) {
      setTimeout(() => this.play(), GAP);
      return;
    }
    this.hint.textContent = "";
    await this.send({ volume_ok: true, sides: this.sides, heard: this.heard });
  }

  fill(...children) {
    this.element.replaceChildren(...children);
    this.element.querySelector("h1").focus();
  }

  pressVolume(event) {
    if (event.target instanceof HTMLButtonElement) return;
    if (event.key === " ") this.toggleNoise();
    else if (event.key === "Enter") this.volumeSet();
    else return;
    event.preventDefault();
  }

  pressSides(event) {
    if (event.key === "ArrowLeft") this.answer("left");
    else if (event.key === "ArrowRight") this.answer("right");
    else if (event.key === " " && !(event.target instanceof HTMLButtonElement)) this.play();
    else return;
    event.preventDefault();
  }
}
