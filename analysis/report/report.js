"use strict";
(function () {
  var size = Number(document.body.dataset.chunk);
  var boxes = Array.from(document.querySelectorAll("input[data-filter]"));
  var trials = Array.from(document.querySelectorAll("details.trial"));
  var chunks = {};
  var cell = null;

  function unpack(id) {
    var text = document.getElementById(id).textContent;
    var bytes = Uint8Array.from(atob(text), function (c) { return c.charCodeAt(0); });
    var stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }
  function fill(trial) {
    if (trial.dataset.filled) { return Promise.resolve(); }
    trial.dataset.filled = "1";
    var n = Number(trial.id.slice(1)) - 1, chunk = Math.floor(n / size);
    chunks[chunk] = chunks[chunk] || unpack("chunk" + chunk);
    return chunks[chunk].then(function (fragments) {
      var holder = document.createElement("div");
      holder.innerHTML = fragments[n % size];
      trial.appendChild(holder);
    });
  }
  function apply() {
    var on = boxes.filter(function (b) { return b.checked; }).map(function (b) { return b.dataset.filter; });
    var shown = 0;
    trials.forEach(function (t) {
      var marks = t.dataset.marks.split(" ");
      var wanted = cell ? on.concat(cell.marks) : on;
      var hit = (!cell || t.dataset.cell === cell.cell) && wanted.every(function (f) { return marks.indexOf(f) >= 0; });
      if (t.hidden === hit) { t.hidden = !hit; }
      if (hit) { shown += 1; }
    });
    document.getElementById("shown").textContent = shown + " of " + trials.length;
    var chosen = document.getElementById("chosen");
    chosen.hidden = !cell;
    chosen.textContent = cell ? "only those behind the number that you followed; follow #trials for all" : "";
  }
  function reveal() {
    var name = location.hash.slice(1), choice = /^cell-(\d+)-([a-z-]+)-([a-z]+)$/.exec(name);
    if (choice || name === "trials") {
      cell = choice ? { cell: choice[1], marks: ["valid", choice[2] + "." + choice[3]] } : null;
      apply();
      document.getElementById("trials").scrollIntoView();
      return;
    }
    var owner = /^t\d+/.exec(name), trial = owner && document.getElementById(owner[0]);
    if (!trial) { return; }
    fill(trial).then(function () {
      trial.hidden = false;
      trial.open = true;
      (document.getElementById(name) || trial).scrollIntoView();
    });
  }
  trials.forEach(function (t) { t.addEventListener("toggle", function () { if (t.open) { fill(t); } }); });
  boxes.forEach(function (b) { b.addEventListener("change", apply); });
  window.addEventListener("hashchange", reveal);
  apply();
  reveal();
})();
