/* The confirmation page: what was changed after the plan was shown has to be planned again. */
"use strict";

(() => {
  const form = document.getElementById("dm-run");
  if (!form) return;

  const confirms = form.querySelectorAll("[data-confirms]");
  const stale = form.querySelector("[data-stale]");

  const isAsShown = (field) =>
    field.type === "checkbox" ? field.checked === field.defaultChecked : field.value === field.defaultValue;

  const look = () => {
    const changed = [...form.querySelectorAll("[data-replans]")].some((field) => !isAsShown(field));
    stale.hidden = !changed;
    for (const button of confirms) button.disabled = changed;
  };

  form.addEventListener("input", look);
  window.addEventListener("pageshow", look); // a browser going back restores changed fields
})();
