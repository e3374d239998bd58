"use strict";
for (const gallery of document.querySelectorAll(".gallery")) {
  const form = gallery.querySelector("form"), list = gallery.querySelector(".cards");
  const cards = [...list.children], said = form.querySelector("output");
  const has = (card, name, value) => !value || card.dataset[name] === value ||
    ((name === "given" || name === "answer") && card.dataset[name].split("|").includes(value));
  const orders = {
    loss: (a, b) => b.dataset.loss - a.dataset.loss,
    confidence: (a, b) => a.dataset.confidence - b.dataset.confidence,
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
  };
  const show = () => {
    const asked = Object.fromEntries(new FormData(form));
    let count = 0;
    for (const card of cards) {
      const fits = ["state", "given", "answer", "fold"].every((name) => has(card, name, asked[name])) &&
        (!asked.least || card.dataset.p >= Number(asked.least)) && (!asked.most || card.dataset.p <= Number(asked.most));
      card.hidden = !fits;
      count += fits;
    }
    gallery.classList.toggle("maps", Boolean(asked.maps));
    list.append(...cards.sort(orders[asked.order]));
    said.textContent = `${count} of ${cards.length} shown`;
  };
  form.addEventListener("input", show);
  form.querySelector("button").addEventListener("click", () => { form.reset(); show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll(".matrix button")) {
    button.addEventListener("click", () => {
      form.reset();
      form.elements.given.value = button.dataset.given;
      form.elements.answer.value = button.dataset.answer;
      show();
      const { rows, given, answer } = button.dataset;
      const shown = cards.filter((card) => !card.hidden).length;
      said.textContent = `${shown} of the ${rows} rows of ${given} answered ${answer} are on this page`;
      gallery.scrollIntoView();
      form.elements.given.focus({ preventScroll: true });
    });
  }
  show();
}
for (const form of document.querySelectorAll(".explorer")) {
  const counts = JSON.parse(form.dataset.counts), said = form.querySelector("output");
  const share = (part, whole) => (whole ? (part / whole).toFixed(4) : "–");
  const show = () => {
    const at = Number(form.elements.threshold.value);
    const [tp, fp, fn, tn] = counts[form.elements.name.value][at];
    said.textContent = `from ${(at / 100).toFixed(2)}: ${tp + fp} named, ${tp} right of ${tp + fn}; ` +
      `precision ${share(tp, tp + fp)}, recall ${share(tp, tp + fn)}, F1 ${share(2 * tp, 2 * tp + fp + fn)}, ` +
      `false positives ${fp} of ${fp + tn}, accuracy ${share(tp + tn, tp + fp + fn + tn)}`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
}
