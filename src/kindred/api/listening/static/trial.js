// One trial: clips to hear, then an answer.

import { FORMS } from "./forms.js";
import { button, clock, heading, isWriting, keys, listed, make, paragraph, ring } from "./parts.js";
import { Clip, Player } from "./sound.js";

/** What was heard of each trial since the page was opened: going back does not take it away. */
const known = new Map();
const GAP = 400;
/** The longest time told, in seconds: a page may stay open for weeks. */
const LONGEST = 7 * 86_400;

export class Trial {
  /** ``send(body)`` and ``back()`` resolve when the server has answered; this screen ends then. */
  constructor(view, server, { send, back }) {
    Object.assign(this, { view, server, send, back, trial: view.trial, busy: false });
    this.clips = known.get(this.trial.id) || this.trial.clips.map(({ slot, url }) => new Clip(slot, url));
    known.set(this.trial.id, this.clips);
    this.began = performance.now();
    this.allHeard = this.clips.every((clip) => clip.whole) ? this.began : null;
    this.unsure = false;
    this.blurred = 0;
    this.player = new Player({
      onchange: () => this.draw(),
      onend: (clip) => this.ended(clip),
      onblocked: () => this.say("Your device does not let the sound begin. Press play once more."),
    });
    this.form = new FORMS[this.trial.form](this.clips, view.study.question, () => this.chosen());
    this.build();
    this.leaving = new AbortController();
    const away = () => { this.blurred += 1; };
    window.addEventListener("blur", away, { signal: this.leaving.signal });
    this.form.set(this.trial.answer ?? null);
    this.comment.value = this.trial.comment || "";
    this.draw();
    this.load();
  }

  build() {
    const { study } = this.view;
    this.cards = new Map(this.clips.map((clip) => [clip, this.card(clip)]));
    const isReference = (clip) => clip.slot === "reference";
    const card = (clip) => this.cards.get(clip).element;
    const others = this.clips.filter((clip) => !isReference(clip));
    this.hint = make("p", { class: "hint", role: "status" });
    this.comment = make("textarea", { rows: 2, maxlength: 2000, placeholder: "Anything you want to say about this one" });
    this.commentBox = make("label", { class: "comment", hidden: !this.trial.comment }, "Comment", this.comment);
    this.nextButton = button("Next", () => this.confirm(), "main next", "Enter");
    this.unsureButton = button("Cannot tell", () => this.cannotTell(), "", "C");
    this.backButton = this.trial.can_go_back ? button("Back", () => this.goBack(), "quiet", "⌫") : null;
    this.element = make("section", { class: `trial ${this.trial.form}` },
      this.trial.practice ? paragraph("Practice: this one does not count", "tag") : null,
      heading(study.question),
      study.aspect_help ? paragraph(study.aspect_help, "muted") : null,
      make("div", { class: "clips" },
        ...this.clips.filter(isReference).map(card),
        make("div", { class: `candidates of-${others.length}` }, ...others.map((clip, place) =>
          this.trial.form === "graded" ? make("div", { class: "row" }, card(clip), this.form.rows[place].element) : card(clip)))),
      this.hint,
      this.form.element,
      this.commentBox,
      make("div", { class: "actions" }, this.backButton,
        button("Comment", () => this.openComment(), "quiet", "M"), this.unsureButton, this.nextButton),
      keys([["Space", "play or pause"], ...this.clipKeys(), ...this.form.keys, ["Enter", "next"], ["C", "cannot tell"]]));
  }

  clipKeys() {
    return {
      ab: [["R A B", "play"]],
      graded: [["R", "reference"], ["1 – 5", "play"]],
      odd: [["← →", "play"]],
    }[this.trial.form];
  }

  card(clip) {
    const { element: picture, set } = ring();
    const status = make("span", { class: "status" });
    const element = make("button", { type: "button", class: "clip", "data-slot": clip.slot, onclick: () => this.toggle(clip) },
      picture, make("span", { class: "label" }, make("b", {}, clip.name), status));
    return { element, status, set };
  }

  load() {
    for (const clip of this.clips) if (!clip.buffer) clip.loading = this.fetch(clip);
  }

  async fetch(clip) {
    clip.failed = false;
    try {
      await clip.decode(await this.server.clip(clip.url));
      this.missing = null; // a complaint about it is over
    } catch (error) {
      clip.failed = true;
      this.say(error.status
        ? "This page is out of date. Open your link again."
        : `${clip.name} cannot be played here. Press it to try again, or open your link in another browser.`);
    }
    this.draw();
  }

  toggle(clip) {
    clearTimeout(this.following);
    if (clip.failed) clip.loading = this.fetch(clip);
    this.player.toggle(clip);
  }

  /** After a clip the next one that was not heard yet begins by itself. */
  ended() {
    const next = this.clips.find((clip) => !clip.whole);
    if (next) this.following = setTimeout(() => this.player.play(next), GAP);
    else this.allHeard ??= performance.now();
    this.draw();
  }

  step(by) {
    const at = this.clips.indexOf(this.player.current);
    const next = this.clips[at < 0 ? 0 : (at + by + this.clips.length) % this.clips.length];
    this.choose(next);
  }

  choose(clip) {
    this.cards.get(clip).element.focus({ preventScroll: true });
    this.toggle(clip);
  }

  draw() {
    const next = this.player.playing ? null : this.clips.find((clip) => !clip.whole);
    for (const [clip, card] of this.cards) {
      const position = this.player.position(clip);
      const playing = this.player.playing === clip;
      card.set(clip.duration ? position / clip.duration : 0, playing);
      card.element.classList.toggle("current", this.player.current === clip);
      card.element.classList.toggle("heard", clip.whole);
      card.element.classList.toggle("next", clip === next);
      card.element.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${clip.name}${clip.whole ? ", heard" : ""}`);
      const at = `${clock(position)} / ${clock(clip.duration)}`;
      if (clip.failed) card.status.textContent = "Cannot be played";
      else if (!clip.buffer) card.status.textContent = "Loading…";
      else if (playing || position > 0) card.status.textContent = at;
      else card.status.textContent = clip.whole ? "Heard" : "Not heard yet";
    }
    const missing = this.clips.filter((clip) => !clip.whole).map((clip) => clip.name);
    const locked = missing.length > 0 || this.busy;
    const words = missing.length ? `Still to hear to the end: ${listed(missing)}` : "";
    if (this.missing !== words) {
      this.missing = words;
      this.say(words || "All heard. You can hear any of them again.");
    }
    this.form.lock(locked);
    this.unsureButton.disabled = locked;
    this.unsureButton.setAttribute("aria-pressed", this.unsure);
    this.nextButton.disabled = locked || this.answer() === undefined;
    this.nextButton.firstChild.data = this.busy ? "Saving…" : "Next";
    this.element.classList.toggle("locked", missing.length > 0);
  }

  say(words) {
    this.hint.textContent = words;
  }

  /** The answer as it would be sent; null for "cannot tell", undefined while there is none. */
  answer() {
    return this.unsure ? null : this.form.value();
  }

  chosen() {
    this.unsure = false;
    this.draw();
  }

  cannotTell() {
    if (this.unsureButton.disabled) return;
    this.unsure = !this.unsure;
    this.form.set(null);
    this.draw();
  }

  openComment() {
    this.commentBox.hidden = false;
    this.comment.focus();
  }

  async confirm() {
    if (this.nextButton.disabled || this.busy) return;
    const now = performance.now();
    const since = (start) => Math.min(LONGEST, Math.round(now - start) / 1000);
    const body = {
      trial: this.trial.id,
      answer: this.answer(),
      comment: this.comment.value.trim(),
      seconds: since(this.began),
      deciding_seconds: since(this.allHeard),
      blurred: this.blurred,
    };
    await this.leave(() => this.send({ ...body, heard: this.clips.map((clip) => clip.heard()) }));
  }

  async goBack() {
    if (this.trial.can_go_back && !this.busy) await this.leave(() => this.back());
  }

  async leave(how) {
    this.busy = true;
    this.end();
    this.draw();
    try {
      await how();
    } finally {
      this.busy = false;
    }
  }

  end() {
    clearTimeout(this.following);
    this.player.stop();
  }

  close() {
    this.end();
    this.leaving.abort();
  }

  press(event) {
    if (isWriting(event)) {
      if (event.key !== "Escape") return;
      this.cards.get(this.clips[0]).element.focus();
    } else if (!this.take(event)) return;
    event.preventDefault();
  }

  take({ key, target }) {
    const name = key.length === 1 ? key.toLowerCase() : key;
    const onButton = target instanceof HTMLButtonElement;
    const onClip = onButton && target.classList.contains("clip");
    if (target instanceof HTMLInputElement && target.type === "range" && name.startsWith("Arrow")) return false;
    if (name === " ") {
      if (onButton) return false; // the button's own
      this.choose(this.player.current || this.clips.find((clip) => !clip.whole) || this.clips[0]);
    } else if (name === "Enter") {
      if (onButton && !onClip) return false;
      if (onClip && this.nextButton.disabled) return false;
      this.confirm();
    } else if (name === "Backspace") this.goBack();
    else if (name === "c") this.cannotTell();
    else if (name === "m") this.openComment();
    else if (this.slotOf(name)) this.choose(this.slotOf(name));
    else if (name === "ArrowLeft" || name === "ArrowRight") {
      if (target instanceof HTMLInputElement) return false; // radio buttons have their own
      this.step(name === "ArrowLeft" ? -1 : 1);
    } else if (!this.element.classList.contains("locked") && !this.busy) {
      if (!this.form.press(name, this.player.current)) return false;
      this.chosen();
    } else return false;
    return true;
  }

  /** The clip that a key plays; the digits of the other forms are answers. */
  slotOf(key) {
    const slot = key === "r" || key === "0" ? "reference" : key;
    if (this.trial.form !== "graded" && /^\d$/.test(slot)) return undefined;
    return this.clips.find((clip) => clip.slot === slot);
  }
}
