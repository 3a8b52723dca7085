// The sitting: shows what the server says comes next, and sends what the listener does.

import { SoundCheck } from "./check.js";
import { make } from "./parts.js";
import * as screens from "./screens.js";
import { Refused, Server } from "./server.js";
import { Trial } from "./trial.js";

const header = document.getElementById("header");
const notice = document.getElementById("notice");
const place = document.getElementById("screen");
const server = new Server(trouble);
let screen = screens.loading();
let stage = null;
let going = false;

/** Say that something has not gone through; ``retry`` tries at once. */
function trouble(text, retry) {
  notice.replaceChildren();
  notice.classList.toggle("trouble", Boolean(text));
  if (text) notice.append(text, " ", make("button", { type: "button", onclick: retry }, "Try now"));
}

/** Say something that goes away with the next screen. */
function say(text) {
  trouble(null);
  notice.append(text);
}

function put(next) {
  screen.close();
  screen = next;
  place.replaceChildren(next.element);
  window.scrollTo(0, 0);
  place.querySelector("h1").focus({ preventScroll: true });
}

/** Ask the server for something and show what comes next; one thing at a time. */
async function go(ask) {
  if (going) return;
  going = true;
  try {
    const view = await ask();
    trouble(null);
    show(view);
  } catch (error) {
    refused(error);
  } finally {
    going = false;
  }
}

function refused(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 409 && error.view) {
    show(error.view);
    say("That one had been answered already, perhaps in another window. Here is where you are.");
    return;
  }
  if (error.status === 422 && screen.refused) {
    screen.refused(error.message);
    return;
  }
  header.hidden = true;
  if (error.status === 403) put(screens.closed(error.code));
  else if (error.status === 404) put(screens.closed("unknown"));
  else put(screens.failed(error.message));
}

function show(view) {
  const before = stage;
  stage = view.stage;
  progress(view);
  const begins = before === "practice" && stage === "trial";
  if (view.feedback || begins) put(screens.feedback(view, () => put(screenOf(view))));
  else put(screenOf(view));
}

function screenOf(view) {
  const send = (what) => (body = {}) => go(() => server.send(what, body));
  switch (view.stage) {
    case "consent":
      return screens.consent(view, () => send("consent")({ device: device() }));
    case "sound_check":
      return new SoundCheck(view, (body) => go(() => server.send("sound-check", body)));
    case "instructions":
      return screens.instructions(view, () => send("begin")());
    case "break":
      return screens.halfway(view, () => send("begin")());
    case "done":
      return screens.done(view);
    default:
      server.tell("shown", { trial: view.trial.id });
      return new Trial(view, server, { send: (body) => go(() => server.answer(body)), back: send("back") });
  }
}

function device() {
  return { width: window.innerWidth, touch: matchMedia("(pointer: coarse)").matches };
}

function progress({ stage: now, progress: { done, of } }) {
  header.hidden = !["practice", "trial", "break"].includes(now);
  const bar = document.getElementById("progress");
  bar.setAttribute("aria-valuemax", of);
  bar.setAttribute("aria-valuenow", done);
  bar.firstElementChild.style.width = `${(100 * done) / Math.max(1, of)}%`;
  document.getElementById("count").textContent = {
    practice: "Practice",
    break: `${done} of ${of} done`,
  }[now] || `${Math.min(done + 1, of)} of ${of}`;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.repeat && !/^Arrow/.test(event.key)) {
    if (event.key === "Enter" || event.key === " ") event.preventDefault();
    return;
  }
  if (place.contains(event.target) || event.target === document.body) screen.press(event);
});
window.addEventListener("beforeunload", (event) => {
  if (server.pending) event.preventDefault();
});

put(screen);
if (!server.token) put(screens.closed("incomplete"));
else {
  const unsent = server.unsent();
  go(() => (unsent ? server.deliver(unsent) : server.state()));
}
