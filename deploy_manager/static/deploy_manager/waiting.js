/* A page that waits for a worker: asks for itself again, and is loaded anew when there is an answer. */
"use strict";

(() => {
  const SOON = 300; // milliseconds between two questions
  const LATER = 2000; // ... after some of them, or while nobody looks
  const MANY = 20;
  let questions = 0;

  const wait = () => setTimeout(look, document.hidden || questions++ > MANY ? LATER : SOON);

  async function look() {
    const page = document.querySelector("[data-waiting]");
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
      const text = answer.ok ? await answer.text() : "";
      const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-waiting]");
      if (!fresh && answer.status < 500) {
        location.reload();
        return;
      }
      if (fresh && fresh.innerHTML !== page.innerHTML) page.innerHTML = fresh.innerHTML;
    } catch {
      // The server can't be reached just now: the next look may find it.
    }
    wait();
  }

  if (document.querySelector("[data-waiting]")) wait();
})();
