/* A deployment's page: polls what changed after a cursor, and shows it. Needs live.js. */
"use strict";

(() => {
  const page = document.querySelector("[data-deployment]");
  if (!page) return;

  const LINES = 20000; // kept on the page, shared by the servers
  const text = page.dataset;
  const find = (selector) => page.querySelector(selector);
  const findAll = (selector) => [...page.querySelectorAll(selector)];

  /* --- the server's answer, written into the page --- */

  const setText = (element, words) => {
    if (element && element.textContent !== words) element.textContent = words;
  };

  const setState = (element, row) => {
    if (!element) return;
    element.dataset.state = row.state;
    setText(element, row.label);
  };

  const setMessage = (element, row) => {
    if (!element) return;
    element.dataset.state = row.state;
    element.hidden = !row.message;
    setText(element, row.message);
  };

  const setDuration = (element, row, now) => {
    // Counted by the reader's clock, which may differ from the server's.
    if (!element) return;
    setText(element, row.duration);
    if (row.started === null) delete element.dataset.started;
    else element.dataset.started = row.started + Date.now() / 1000 - now;
  };

  const showPause = (row, now) => {
    const countdown = find("[data-countdown]");
    find("[data-pause]").hidden = !row.pause;
    setText(find('[data-field="pause"]'), row.pause);
    if (row.opens === null) delete countdown.dataset.until;
    else countdown.dataset.until = row.opens + Date.now() / 1000 - now;
  };

  const showDeployment = (row, now, live) => {
    const field = (name) => find(`[data-field="${name}"]`);
    setState(field("state"), row);
    setDuration(field("duration"), row, now);
    setMessage(field("message"), row);
    for (const note of findAll("[data-when]")) note.hidden = row.state !== note.dataset.when;
    showPause(row, now);
    field("cancelling").hidden = !(row.cancel && live);
    setText(field("commit"), row.commit.slice(0, 12) || "–");
    field("commit").title = row.commit;
    setText(field("subject"), row.subject);
    for (const name of ["release", "started_at", "finished_at"]) setText(field(name), row[name] || "–");
    const cancel = find("[data-cancel]");
    if (cancel) cancel.hidden = Boolean(row.cancel) || !live;
    const retry = find("[data-retry]");
    if (retry) retry.hidden = !row.retry;
    if (retry) retry.querySelector("[type=submit]").value = row.retry;
  };

  const showHost = (row) => {
    const line = find(`[data-host-row="${row.id}"]`);
    if (!line) return;
    setState(line.querySelector('[data-part="state"]'), row);
    setMessage(line.querySelector('[data-part="message"]'), row);
    setState(find(`#host-${row.id} [data-part="state"]`), row);
  };

  const showStep = (row, now) => {
    const cell = find(`.dm-cell[data-step="${row.id}"]`);
    if (!cell) {
      if (row.state === "queued") location.reload(); // planned anew, for the servers that stayed
      return;
    }
    if (row.duration && cell.closest(".dm-rollback")) find(".dm-matrix").classList.add("dm-went-back");
    cell.title = row.message;
    setState(cell.querySelector('[data-part="state"]'), row);
    setDuration(cell.querySelector('[data-part="duration"]'), row, now);
  };

  /* --- the logs, one panel for each server --- */

  const panels = new Map();
  let picked = { host: "", step: "" };

  class Panel {
    constructor(element, most) {
      this.element = element;
      this.log = element.querySelector(".dm-log");
      this.button = element.querySelector("[data-follow]");
      this.most = most;
      this.follows = true;
      this.blocks = [...this.log.querySelectorAll("pre")];
      this.lines = this.blocks.reduce((sum, block) => sum + Number(block.dataset.lines), 0);
      this.log.addEventListener("scroll", () => this.noteScroll(), { passive: true });
      this.button.addEventListener("click", () => this.follow());
      this.follow();
    }

    noteScroll() {
      const left = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight;
      this.follows = left < 30;
      this.button.hidden = this.follows;
    }

    follow() {
      this.follows = true;
      this.button.hidden = true;
      this.log.scrollTop = this.log.scrollHeight;
    }

    add(chunk) {
      const last = this.blocks[this.blocks.length - 1];
      if (!last || last.dataset.step !== String(chunk.step)) this.log.append(this.heading(chunk));
      const block = document.createElement("pre");
      block.className = `dm-${chunk.stream}`;
      block.dataset.step = chunk.step;
      block.dataset.lines = chunk.lines;
      block.innerHTML = chunk.html; // escaped by the server, spans with classes only
      this.log.append(block);
      this.blocks.push(block);
      this.lines += chunk.lines;
      this.applyFilter(block);
      this.prune();
    }

    heading(chunk) {
      const heading = document.createElement("h4");
      heading.dataset.stepTitle = chunk.step;
      heading.textContent = chunk.title;
      this.applyFilter(heading);
      return heading;
    }

    prune() {
      // A browser becomes slow with some ten thousand lines; the download has all of them.
      while (this.lines > this.most && this.blocks.length > 1) {
        const oldest = this.blocks.shift();
        this.lines -= Number(oldest.dataset.lines);
        const before = oldest.previousElementSibling;
        const after = oldest.nextElementSibling;
        oldest.remove();
        if (before?.matches("h4") && after?.matches("h4")) before.remove();
        this.log.querySelector("[data-cut]").hidden = false;
      }
    }

    applyFilter(part) {
      const step = part.dataset.step || part.dataset.stepTitle;
      part.hidden = Boolean(picked.step) && step !== picked.step;
    }

    filter() {
      this.element.hidden = Boolean(picked.host) && this.element.dataset.host !== picked.host;
      this.element.classList.toggle("dm-alone", this.element.dataset.host === picked.host);
      for (const part of this.log.querySelectorAll("pre, h4")) this.applyFilter(part);
      if (this.follows) this.follow();
    }
  }

  const pick = (host, step, cell) => {
    picked = { host, step };
    for (const other of findAll("[data-pick-host][aria-current]")) other.removeAttribute("aria-current");
    if (cell) cell.setAttribute("aria-current", "true");
    for (const panel of panels.values()) panel.filter();
    find("[data-filter]").hidden = !host;
    const title = step ? find(`[data-step-title="${step}"]`)?.textContent : "";
    const name = host ? find(`#host-${host}`).dataset.name : "";
    setText(find("[data-log-title]"), host ? [name, title].filter(Boolean).join(": ") : text.textAll);
  };

  page.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-pick-host]");
    if (cell && panels.size) { // none: who looks may see no output
      event.preventDefault();
      const { pickHost, pickStep } = cell.dataset;
      pick(pickHost, pickStep || "", cell);
      find(`#host-${pickHost}`).scrollIntoView({ block: "nearest" });
    } else if (event.target.closest("[data-show-all]")) {
      pick("", "", null);
    }
  });

  /* --- time that passes --- */

  const tenths = new Intl.NumberFormat(document.documentElement.lang || undefined, {
    minimumFractionDigits: 1,
    maximumFractionDigits: 1,
  });

  // Like spell_duration in admin/badges.py, which the server uses.
  const spell = (seconds) => {
    if (seconds < 10) return `${tenths.format(seconds)} s`;
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  };

  const tick = () => {
    for (const element of findAll("[data-started]")) {
      setText(element, spell(Math.max(0, Date.now() / 1000 - Number(element.dataset.started))));
    }
    for (const element of findAll("[data-until]")) {
      setText(element, spell(Math.max(0, Number(element.dataset.until) - Date.now() / 1000)));
    }
  };

  /* --- polling --- */

  const trouble = find("[data-trouble]");
  let cursor = page.dataset.cursor;
  let ticking = 0;

  const show = (news) => {
    cursor = news.cursor;
    showDeployment(news.deployment, news.now, news.live);
    for (const row of news.hosts) showHost(row);
    for (const row of news.steps) showStep(row, news.now);
    for (const chunk of news.chunks) panels.get(String(chunk.host))?.add(chunk);
    for (const host of new Set(news.chunks.map((chunk) => String(chunk.host)))) {
      const panel = panels.get(host);
      if (panel?.follows) panel.follow();
    }
  };

  const say = (words) => {
    trouble.hidden = !words;
    setText(trouble, words);
  };

  class Final extends Error {}

  const look = async () => {
    const answer = await fetch(`${text.progressUrl}?after=${cursor}`, {
      credentials: "same-origin",
      redirect: "manual",
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(20000),
    });
    if (answer.type === "opaqueredirect") throw new Final(text.textLoggedOut);
    if (answer.status === 403 || answer.status === 404) throw new Final(text.textForbidden);
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const news = await answer.json();
    say("");
    show(news);
    if (news.more) return "more";
    if (news.live) return news.chunks.length + news.steps.length + news.hosts.length ? "news" : "quiet";
    clearInterval(ticking);
    setText(find("[data-announce]"), text.textEnded.replace("%s", news.deployment.label));
    return "end";
  };

  const onError = (error, wait) => {
    const isFinal = error instanceof Final;
    say(isFinal ? error.message : text.textOffline.replace("%s", Math.round(wait / 1000)));
    return !isFinal;
  };

  for (const element of findAll(".dm-panel")) {
    const most = Math.max(500, Math.floor(LINES / findAll(".dm-panel").length));
    panels.set(element.dataset.host, new Panel(element, most));
  }
  if (page.dataset.live === "yes") {
    ticking = setInterval(tick, 500);
    deployManagerPoll(look, {
      first: 0,
      eager: 100, // someone has just pressed the button and waits for the first line
      eagerFor: 5000,
      soon: 700,
      idle: 2000,
      idleAfter: 10000,
      hidden: 5000,
      mostWait: 30000,
      onError,
    });
  }
})();
