/* Keeps the page of an upgrade true while it runs: asks for the page again and puts in what changed. */
"use strict";

const EVERY_MS = 2000;

async function look() {
  const page = document.querySelector("[data-upgrade]");
  if (!page || page.dataset.live !== "yes") {
    return;
  }
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) {
      const text = await answer.text();
      const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-upgrade]");
      if (fresh && fresh.innerHTML !== page.innerHTML && !page.contains(document.activeElement)) {
        page.replaceWith(fresh);
      }
    }
  } catch {
    // The server can't be reached just now: the next look may find it.
  }
  setTimeout(look, EVERY_MS);
}

setTimeout(look, EVERY_MS);
