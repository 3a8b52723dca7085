// The screens that only say something, most with one button to go on.

import { button, heading, keys, make, paragraph } from "./parts.js";

/** A screen of words; Enter presses its main button. */
function words(kind, children, onward) {
  const next = onward && button(onward.text, onward.go, "main", "Enter");
  return {
    element: make("section", { class: kind }, ...children, next && make("div", { class: "actions" }, next)),
    press(event) {
      if (event.key !== "Enter" || !next || event.target instanceof HTMLButtonElement) return;
      next.click();
      event.preventDefault();
    },
    close() {},
  };
}

function facts(pairs) {
  return make("dl", {}, ...pairs.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]));
}

export function consent({ study, progress }, go) {
  const minutes = Math.max(1, Math.round(study.minutes));
  return words("consent", [
    heading("Would you lend us your ears?"),
    paragraph(`You will hear short clips of music, and the same question about them ${progress.of} times. There is no right or wrong taste: what you hear counts.`, "lead"),
    facts([
      ["The question", `${study.question} ${study.aspect_help || ""}`],
      ["Time", `About ${minutes} ${minutes === 1 ? "minute" : "minutes"}${minutes >= 10 ? ", with a break half-way" : ""}. You may stop at any time by closing the page; your link brings you back to where you were.`],
      ["What is kept", "Your answers and comments, what you played and how long, when you answered, how often you left the page, how wide your screen is and whether you touch it."],
      ["What is not", "This page asks for no name and no address, sets no cookie and sends nothing to anybody else. Who made the study knows to whom each link was given."],
      ["You need", "Headphones if you can, and a quiet place."],
    ]),
    paragraph("By going on you agree that your answers are kept and used for the study.", "muted"),
  ], { text: "I agree, let us begin", go });
}

const HOW = {
  ab: ["Play the reference, A and B. When all three have been heard to their ends, say which of A and B is closer, clearly or slightly, or that they are equal."],
  graded: ["Play the reference and the others. When all have been heard to their ends, say of each whether it is not, somewhat or very similar to the reference; the slider says it finer."],
  odd: ["Play all three. When all have been heard to their ends, say which one does not belong with the other two."],
};
const KEYS = {
  ab: [["R A B", "play"], ["1 – 5", "from A clearly to B clearly"]],
  graded: [["R", "the reference"], ["1 – 5", "play"], ["N S V", "not, somewhat, very"]],
  odd: [["← →", "play"], ["1 2 3", "the odd one out"]],
};

export function instructions({ study }, go) {
  return words("instructions", [
    heading("How it goes"),
    make("ol", {},
      make("li", {}, HOW[study.form][0]),
      make("li", {}, "Press play once: the clips follow one another. Hear any of them again as often as you like."),
      make("li", {}, "If you really cannot tell, say so. You can go back one step, and leave a comment.")),
    make("div", { class: "question" }, paragraph(study.question), study.aspect_help ? paragraph(study.aspect_help, "muted") : null),
    keys([["Space", "play or pause"], ...KEYS[study.form], ["C", "cannot tell"], ["Enter", "next"], ["⌫", "back"]]),
    paragraph("First a little practice, which does not count.", "muted"),
  ], { text: "Start the practice", go });
}

export function feedback(view, go) {
  const isLast = view.stage !== "practice";
  return words("feedback", [
    heading(isLast ? "That was the practice" : "Practice"),
    view.feedback ? paragraph(view.feedback, "lead") : null,
    isLast ? paragraph(`Now it counts: ${view.progress.of} times. From here on nobody tells what is right: we want to know what you hear.`) : null,
  ], { text: isLast ? "Begin" : "Next", go });
}

export function halfway({ progress }, go) {
  const left = progress.of - progress.done;
  return words("break", [
    heading("Half-way. Well heard!"),
    paragraph(`${progress.done} are done, ${left} to go. Give your ears a minute of quiet: look out of a window, have some water.`, "lead"),
    paragraph("Everything so far is saved. Go on when you like, also tomorrow, with the same link.", "muted"),
  ], { text: "Go on", go });
}

export function done(view) {
  return words("done", [
    heading("That was it"),
    paragraph(view.thanks, "lead"),
  ]);
}

const CLOSED = {
  incomplete: ["This link is not complete", "Open the whole link as it was given to you."],
  unknown: ["This link is not known here", "Perhaps a part of it was lost: open it as it was given to you, or ask for it again."],
  expired: ["This link has expired", "Ask whoever gave it to you for a new one. What you answered is kept."],
  revoked: ["This link was withdrawn", "Ask whoever gave it to you if you think that it is a mistake."],
  closed: ["This study is closed", "Thank you for your interest. What you answered is kept."],
};

export function closed(code) {
  const [title, text] = CLOSED[code] || CLOSED.closed;
  return words("closed", [heading(title), paragraph(text, "lead")]);
}

export function failed(text) {
  return words("failed", [
    heading("Something went wrong"),
    paragraph(text, "lead"),
    paragraph("What you answered before is saved.", "muted"),
  ], { text: "Try again", go: () => location.reload() });
}

export function loading() {
  return words("loading", [heading("One moment…")]);
}
