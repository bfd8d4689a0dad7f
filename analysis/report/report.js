"use strict";
(function () {
  var size = Number(document.body.dataset.chunk);
  var boxes = Array.from(document.querySelectorAll("input[data-filter]"));
  var trials = Array.from(document.querySelectorAll("details.trial"));
  var chunks = {};
  var sets = null;
  var list = document.getElementById("list");
  var chosen = null;

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
    trials.forEach(function (t, i) {
      var marks = on.length ? t.dataset.marks.split(" ") : [];
      var hit = (!chosen || chosen.has(i + 1)) && on.every(function (f) { return marks.indexOf(f) >= 0; });
      if (t.hidden === hit) { t.hidden = !hit; }
      if (hit) { shown += 1; }
    });
    document.getElementById("shown").textContent = shown + " of " + trials.length;
    var told = document.getElementById("chosen");
    told.hidden = !chosen;
    told.textContent = chosen ? "only those behind the number that you followed; follow #trials for all" : "";
  }
  function choose(ranges) {
    chosen = null;
    if (ranges) {
      chosen = new Set();
      for (var i = 0; i < ranges.length; i += 2) {
        for (var n = ranges[i]; n <= ranges[i + 1]; n += 1) { chosen.add(n); }
      }
    }
    apply();
    document.getElementById("trials").scrollIntoView();
  }
  function sort() {
    var by = trials.slice();
    if (document.getElementById("sort").checked) {
      by.sort(function (a, b) { return Number(b.dataset.suspicion || -1) - Number(a.dataset.suspicion || -1); });
    }
    var fragment = document.createDocumentFragment();
    by.forEach(function (t) { fragment.appendChild(t); });
    list.appendChild(fragment);
  }
  function reveal() {
    var name = location.hash.slice(1), set = /^set-(\d+)$/.exec(name);
    if (name === "trials") { choose(null); return; }
    if (set) {
      sets = sets || unpack("sets");
      sets.then(function (all) { choose(all[Number(set[1])] || []); });
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
  document.getElementById("sort").addEventListener("change", sort);
  window.addEventListener("hashchange", reveal);
  apply();
  reveal();
})();
