/* An environment's form: a new placement comes last, also if several are added at once. */
"use strict";

document.addEventListener("formset:added", (event) => {
  if (event.detail.formsetName !== "placements") return;
  const added = event.target.querySelector('input[name$="-order"]');
  if (!added) return;
  const others = document.querySelectorAll('input[name^="placements-"][name$="-order"]');
  const orders = [...others]
    .filter((input) => input !== added && !input.name.includes("__prefix__"))
    .map((input) => Number(input.value));
  added.value = Math.min(Math.max(0, ...orders) + 1, Number(added.max));
});
