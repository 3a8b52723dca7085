// Talking to the server until it has understood. An answer is kept here until it is acknowledged.

const TIMEOUT = 20_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;

/** The server understood and said no: by an invitation, a trial or a body it does not take. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.message || "The server does not take this.");
    Object.assign(this, { status, code: body.error, view: body.view || null });
  }
}

/** A random UUID; crypto.randomUUID is missing where the page came by plain HTTP. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** A short name for a token that does not give it away. */
function digest(text) {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (const character of text) {
    a = Math.imul(a ^ character.codePointAt(0), 2654435761);
    b = Math.imul(b ^ character.codePointAt(0), 1597334677);
  }
  return (a >>> 0).toString(16) + (b >>> 0).toString(16);
}

export class Server {
  /** ``ontrouble(text, retry)`` while something is not through; ``ontrouble(null)`` once it is. */
  constructor(ontrouble) {
    this.token = location.pathname.split("/").at(-1);
    this.ontrouble = ontrouble;
    this.unsentKey = `kindred-unsent-${digest(this.token)}`;
  }

  state() {
    return this.persist("GET", `${this.token}/state`, null, "The server cannot be reached.");
  }

  send(what, body) {
    return this.persist("POST", `${this.token}/${what}`, body, "Not saved yet.");
  }

  /** Tell something that nobody waits for; a refusal is left to the next request. */
  tell(what, body) {
    this.persist("POST", `${this.token}/${what}`, body, null).catch(() => {});
  }

  /** An answer, under an id of its own: however often it is sent, it counts once. */
  async answer(body) {
    const kept = { id: uuid(), ...body };
    this.keep(kept);
    return this.deliver(kept);
  }

  async deliver(kept) {
    try {
      return await this.send("answer", kept);
    } finally {
      this.keep(null); // acknowledged, or refused for good
    }
  }

  /** An answer that a page before this one could not get through, or null. */
  unsent() {
    try {
      return JSON.parse(localStorage.getItem(this.unsentKey));
    } catch {
      return null;
    }
  }

  keep(body) {
    this.pending = body !== null;
    try {
      if (body) localStorage.setItem(this.unsentKey, JSON.stringify(body));
      else localStorage.removeItem(this.unsentKey);
    } catch {
      // Storage may be closed to us, as in a private window; memory holds it while the page is open.
    }
  }

  clip(url) {
    return this.persist("GET", url, null, "The music does not load.", (answer) => answer.arrayBuffer());
  }

  async persist(method, url, body, words, read = (answer) => answer.json()) {
    let told = false;
    for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      try {
        const found = await this.once(method, url, body, read);
        if (told) this.ontrouble(null);
        return found;
      } catch (error) {
        if (error instanceof Refused) {
          if (told) this.ontrouble(null);
          throw error;
        }
      }
      await new Promise((retry) => {
        const now = () => {
          clearTimeout(timer);
          window.removeEventListener("online", now);
          retry();
        };
        const timer = setTimeout(now, wait);
        window.addEventListener("online", now);
        if (words) {
          told = true;
          const why = navigator.onLine ? "Trying again" : "You are offline. Trying again";
          this.ontrouble(`${words} ${why}…`, now);
        }
      });
    }
  }

  async once(method, url, body, read) {
    const answer = await fetch(url, {
      method,
      body: body && JSON.stringify(body),
      headers: body ? { "Content-Type": "application/json" } : {},
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (answer.ok) return read(answer);
    if (answer.status >= 500 || [408, 425, 429].includes(answer.status)) throw new Error("later");
    throw new Refused(answer.status, await answer.json().catch(() => ({})));
  }
}
