/* Pages that follow the work of a worker: one way of polling, and pages that refresh themselves. */
"use strict";

/* Calls `look` again and again. It resolves to "more" (ask at once), "news", "quiet" or "end".
   The first call comes after `first`, the next ones after `eager` until `eagerFor` has passed, then
   after `soon`, after `idle` once nothing was new for `idleAfter`, and after `hidden` while nobody
   sees the page: all in milliseconds. Each error in a row doubles the wait, up to `mostWait`;
   `onError` ends it by returning false. */
const deployManagerPoll = (look, options) => {
  const { first, eager, eagerFor = 0, soon, idle, idleAfter, hidden, mostWait, onError } = options;
  const began = performance.now();
  let lastNews = began;
  let failures = 0;
  let timer = 0;
  let looking = false;
  let ended = false;

  const later = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(run, wait);
  };

  const pace = () => {
    if (document.hidden) return hidden;
    if (performance.now() - began < eagerFor) return eager;
    return performance.now() - lastNews > idleAfter ? idle : soon;
  };

  const run = async () => {
    if (looking || ended) return; // the reader came back to the tab during a request
    looking = true;
    try {
      const found = await look();
      failures = 0;
      if (found !== "quiet") lastNews = performance.now();
      ended = found === "end";
      if (!ended) later(found === "more" ? 0 : pace());
    } catch (error) {
      const wait = Math.min(mostWait, 1000 * 2 ** failures++);
      ended = onError ? !onError(error, wait) : false;
      if (!ended) later(wait);
    } finally {
      looking = false;
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) later(0);
  });
  later(first);
};

/* Refreshes the part of a page that has data-refresh="yes", for as long as it has. */
(() => {
  const part = document.querySelector('[data-refresh="yes"]');
  if (!part) return;

  const look = async () => {
    const answer = await fetch(location.href, {
      headers: { Accept: "text/html" },
      redirect: "manual",
      signal: AbortSignal.timeout(20000),
    });
    if (answer.status >= 500) throw new Error(`HTTP ${answer.status}`);
    const text = answer.ok ? await answer.text() : "";
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-refresh]");
    if (!fresh) {
      location.reload(); // it is another page now: the answer, a log-in, a refusal
      return "end";
    }
    const changed = fresh.innerHTML !== part.innerHTML;
    if (changed && part.contains(document.activeElement)) return "quiet"; // a button about to be pressed
    if (changed) part.innerHTML = fresh.innerHTML;
    // A page that counts seconds changes each time, which is no reason to hurry.
    return fresh.dataset.refresh === "yes" ? "quiet" : "end";
  };

  const soon = Number(part.dataset.refreshSoon || 2000);
  deployManagerPoll(look, { first: soon, soon, idle: 2000, idleAfter: 20 * soon, hidden: 2000, mostWait: 2000 });
})();
